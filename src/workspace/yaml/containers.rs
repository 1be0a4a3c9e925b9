//! Visits the mappings and lists of a YAML or JSON text and ignores its scalars.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What to do with the mappings and lists of a text.
pub(crate) trait ContainerVisitor<'de>: Sized {
    /// Visits a mapping.
    fn visit_mapping<A: MapAccess<'de>>(self, access: A) -> Result<(), A::Error>;

    /// Visits a list; ignores it unless implemented.
    fn visit_list<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Deserializes a value, of which `V` visits the mapping or list.
pub(crate) struct Containers<V>(pub V);

impl<'de, V: ContainerVisitor<'de>> DeserializeSeed<'de> for Containers<V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, V: ContainerVisitor<'de>> Visitor<'de> for Containers<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        self.0.visit_mapping(access)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        self.0.visit_list(access)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
