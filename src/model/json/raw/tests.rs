use proptest::prelude::*;

use super::*;

fn accepted(text: &str) -> bool {
    members(text, |_, _| {}).is_some()
}

fn strict(text: &str) -> Option<Value> {
    serde_json::from_str::<Value>(text).ok().filter(Value::is_object)
}

/// Collects the members one by one into an object.
fn collected(text: &str) -> Object {
    let mut object = Object::new();
    members(text, |key, raw| drop(object.insert(key.to_string(), raw.value()))).unwrap();
    object
}

#[test]
fn what_is_no_strict_json_is_refused() {
    for bad in [
        "",
        "{",
        "}",
        "[1]",
        "1",
        "{}x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":nul}",
        "{\"a\":tru e}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\\u0062\":1}",
        "{\"a\":{\"$serde_json::private::Number\":\"x\"}}",
        "\u{feff}{}",
        "{\"a\":1}\u{a0}",
    ] {
        assert!(!accepted(bad), "{bad}");
    }
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for n in [1, 125, 126, 127, 128, 100_000] {
        assert_eq!(accepted(&deep(n)), strict(&deep(n)).is_some(), "{n} levels");
    }
}

#[test]
fn members_are_found_as_they_stand() {
    let text = " {\"a\" : [1, {\"b\": \"]\"}] ,\"c\":\"x\\\"y\",\n\"d\":-1.5e+3, \"c\": null}\t";
    let mut seen = Vec::new();
    members(text, |key, raw| seen.push((key, raw.as_str()))).unwrap();
    assert_eq!(seen, [("a", "[1, {\"b\": \"]\"}]"), ("c", "\"x\\\"y\""), ("d", "-1.5e+3"), ("c", "null")]);
    let mut items = Vec::new();
    assert!(Raw("[1, \"a\", []]").items(|raw| items.push(raw.as_str())));
    assert_eq!(items, ["1", "\"a\"", "[]"]);
    assert!(!Raw("1").items(|_| {}) && !Raw("[]").members(|_, _| {}));
}

#[test]
fn values_have_their_types() {
    assert_eq!(Raw("\"1\"").integer::<i64>(), None);
    assert_eq!((Raw("-7").integer::<i64>(), Raw("-7").integer::<u64>()), (Some(-7), None));
    assert_eq!((Raw("1.0").integer::<i64>(), Raw("1.0").float()), (None, Some(1.0)));
    assert_eq!((Raw("1e999").float(), Raw("NaN").float(), Raw("Infinity").float()), (None, None, None));
    assert_eq!((Raw("true").boolean(), Raw("null").boolean()), (Some(true), None));
    assert_eq!(Raw("{\"a\": NaN}").object().unwrap()["a"].to_string(), "NaN");
    assert_eq!(Raw("\"a\\ud83d\\ude00\\n\\/\\u00e9\"").text().unwrap().decode(), "a😀\n/é");
    assert!(Raw("\"\\u0061\"").text().unwrap().is("a"));
}

#[test]
fn only_white_space_between_the_parts_may_differ() {
    let same = |a, b| same_text(Raw(a), b);
    assert!(same("{\"a\": [1, \"x y\"]}", "{\n \"a\":[ 1,\"x y\" ] }"));
    for other in ["{\"a\":[1,\"xy\"]}", "{\"a\":[1]}", "{\"a\":[1,\"x y\"]} 1", "{\"a\":[1 ,2]}", "[]", ""] {
        assert!(!same("{\"a\":[1,\"x y\"]}", other), "{other}");
        assert!(!same("{\"a\":12}", "{\"a\":1 2}") && !same("{\"a\":1}", "{\"a\":1x}"));
        assert!(!same(other, "{\"a\":[1,\"x y\"]}"), "{other}");
    }
}

/// Generates text that is nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(":"),
        Just(","),
        Just("\"a\""),
        Just("\"é\\n\""),
        Just("\"\\ud83d\\ude00\""),
        Just("\"\\ud800\""),
        Just("1"),
        Just("-0.5e7"),
        Just("01"),
        Just("NaN"),
        Just("null"),
        Just("true"),
        Just(" "),
        Just("\n"),
        Just("\"a\":"),
        Just("\\"),
        Just("\"")
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| format!("{{{}}}", words.concat()))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\a-z\u{0}-\u{1f}]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-zé]{0,9}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_passes_that_serde_refuses(text in nearly_json()) {
        if accepted(&text) {
            prop_assert_eq!(Some(Value::Object(collected(&text))), strict(&text));
        }
    }

    #[test]
    fn what_is_written_is_read_again(value in any_json(), pretty in any::<bool>()) {
        let object = Object::from_iter([("k".to_string(), value)]);
        let text = if pretty { super::super::to_text(&object) } else { super::super::to_line(&object) };
        prop_assert_eq!(collected(&text), object.clone());
        if let Value::String(meant) = &object["k"] {
            members(&text, |_, raw| assert_eq!(raw.text().unwrap().decode(), meant.as_str())).unwrap();
        }
    }
}

#[cfg(feature = "cli")]
#[test]
fn a_lenient_value_is_one_complete_value() {
    for text in ["{}", " [1]\n", "\"\\ud800\"", "{\"\\u0061\": [NaN, -Infinity, \"\\udc00\\ud800x\"]}"] {
        assert_eq!(lenient_value(text).unwrap().as_str(), text.trim_ascii());
    }
    for text in ["", " ", "{", "{} {}", "[1,]", "\"\\ud80\"", "nan", "{\"a\": \u{a0}1}", "\u{feff}{}"] {
        assert_eq!(lenient_value(text), None, "{text}");
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(lenient_value(&nested(127)).is_some() && lenient_value(&nested(128)).is_none());
}
