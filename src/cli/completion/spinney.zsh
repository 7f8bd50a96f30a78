#compdef spinney
# Completion of spinney(1) for zsh(1): the program says what may come next.

_spinney() {
    local line word
    local -a described open
    local files=
    for line in "${(@f)$("${words[1]}" complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :files) files=yes ;;
            *)
                word=${${line%%$'\t'*}//:/\\:}
                if [[ $word == *= ]]; then
                    open+=("$word:${line#*$'\t'}")
                else
                    described+=("$word:${line#*$'\t'}")
                fi
                ;;
        esac
    done
    (( $#described )) && _describe -t words spinney described
    (( $#open )) && _describe -t options spinney open -S ''
    if [[ -n $files ]]; then
        compset -P '*='
        _files
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _spinney "$@"
else
    compdef _spinney spinney
fi
