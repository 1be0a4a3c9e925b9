#!/bin/sh
# Stands in for an agent: makes a program with a mistake, corrects it when it is told, and reviews.
# shellcheck disable=SC2016 # the text of another script
set -eu
prompt=$(cat)
case $LANES_LANE in
  work)
    case $prompt in
      *"greet by name"*) printf '#!/bin/sh\necho "hello, $1"\n' > hello.sh ;;
      *"is not executable"*) printf '#!/bin/sh\necho hello\n' > hello.sh ;;
      *) printf 'echo hello\n' > hello.sh; echo 'I wrote it.'; exit 0 ;;
    esac
    chmod +x hello.sh
    echo 'I wrote hello.sh.'
    ;;
  review)
    if [ "$(./hello.sh you)" = 'hello, you' ]; then
      printf 'As it should be.\nVERDICT: accept\n'
    else
      printf 'It must greet by name.\nVERDICT: needs-revision\n'
    fi
    ;;
  *) echo "Part $LANES_TASK_ID is done." ;;
esac
