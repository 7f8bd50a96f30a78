# Completion of spinney(1) for fish(1): the program says what may come next.

function __spinney_complete
    set -l current (commandline -ct)
    set -l words (commandline -opc)
    for line in ($words[1] complete -- $words "$current" 2>/dev/null)
        if test "$line" = :files
            set -l value (string replace -r '^.*=' '' -- "$current")
            set -l before (string sub -l (math (string length -- "$current") - (string length -- "$value")) -- "$current")
            for path in (__fish_complete_path "$value")
                printf '%s%s\n' "$before" $path
            end
        else
            printf '%s\n' $line
        end
    end
end

complete -c spinney -f -a '(__spinney_complete)'
