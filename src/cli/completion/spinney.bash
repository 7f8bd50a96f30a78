# Completion of spinney(1) for bash(1): the program says what may come next.

_spinney() {
    local words current cut line word
    # Words as the program gets them: readline's own are cut at = and : too.
    read -r -a words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]} - 1]}
    # What readline keeps of it.
    cut=
    [[ $current == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]] && cut=${current%"${current##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames
            while IFS= read -r word; do
                COMPREPLY+=("$word")
            done < <(compgen -f -- "${current##*=}")
        else
            word=${line%%$'\t'*}
            COMPREPLY+=("${word#"$cut"}")
            [[ $word == *= ]] && compopt -o nospace
        fi
    done < <("${words[0]}" complete -- "${words[@]}" 2>/dev/null)
}

complete -F _spinney spinney
