# Measures a Rust file laid out by rustfmt. Each blocking finding is one line that starts with
# "blocking:". Run it with LC_ALL=C, so that lengths are bytes.

{
    code = $0
    sub(/^ +/, "", code)
    indent = length($0) - length(code)
}

length($0) > width { width = length($0); widest = NR }

/(^|[^A-Za-z0-9_])(TODO|FIXME)([^A-Za-z0-9_]|$)/ { mark[++marks] = NR ": " code }

# Tests: from the attribute to the end of the item, which is in the first column again.
/^#\[cfg\(test\)\]/ { in_tests = 1 }
in_tests { tests++ }
in_tests && (/^}/ || /^[^ ].*;$/) { in_tests = 0; next }
in_tests || code ~ /^\/\// { next }

{ unwraps += gsub(/\.unwrap\(\)/, "&"); expects += gsub(/\.expect\(/, "&") }

# A function: from its first line to the closing brace in the same column.
code ~ /^(pub(\([a-z: ]+\))? )?((default|const|async|unsafe|extern "[^"]*") )*fn [A-Za-z_]/ {
    match(code, /fn [A-Za-z0-9_]+/)
    open_name[indent] = substr(code, RSTART + 3, RLENGTH - 3)
    open_line[indent] = NR
}
indent in open_line && (code ~ /^}/ || code ~ /[;}]$/) {
    if (code !~ /;$/) {
        name[++count] = open_name[indent]
        line[count] = open_line[indent]
        size[count] = NR - line[count] + 1
    }
    delete open_line[indent]
}

END {
    parts = split(FILENAME, part, "/")
    printf "%s: %d lines, %d of them tests; the longest is line %d with %d bytes\n",
        part[parts], NR, tests, widest, width
    printf "outside tests: %d functions, unwrap() %d times, expect() %d times\n",
        count, unwraps, expects
    for (rank = 1; rank <= 3 && rank <= count; rank++) {
        top = 1
        for (i = 2; i <= count; i++) if (size[i] > size[top]) top = i
        printf "  %s, line %d: %d lines\n", name[top], line[top], size[top]
        size[top] = 0
    }
    printf "lines with TODO or FIXME: %d\n", marks
    for (i = 1; i <= marks; i++) print "blocking: line " mark[i]
}
