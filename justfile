# Short names for the steps of .ci/run, which is where they are written.

# Lists the recipes.
default:
    @{{ just_executable() }} --list --unsorted

# What to run before a commit.
check: (ci "format" "lints" "docs" "scripts" "tests")

# The tests; with arguments, those of `cargo test`: just test --test it contract
test *args:
    cargo test --locked {{ args }}

# Formats the code.
fmt:
    cargo fmt

# The real programs of agents, or the checks whose name contains the words.
agents *words:
    cargo build --locked --quiet
    ./tests/real_clis.sh target/debug/lanes {{ quote(words) }}

# The board in a real browser; pictures of its screens are in target/ci/board afterwards.
board: (ci "board")

# Measures what commands cost: prints figures to compare, asserts nothing.
bench *args:
    cargo bench --locked --bench cost -- {{ args }}

# The archive of a release, in target/dist.
release: (ci "release")

# The packages of a release, in target/dist, each of them tried.
package: (ci "release" "package")

# Steps of .ci/run; without one, all of them, as for a change that lands.
ci *steps:
    .ci/run {{ steps }}
