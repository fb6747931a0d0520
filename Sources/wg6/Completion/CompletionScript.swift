import ArgumentParser

/// The scripts for shells. ArgumentParser writes them; for arguments that are a name or a file, they learn to offer files
/// as the shell itself does (`FileOffer`).
enum CompletionScript {
  /// The script for the shell that `--generate-completion-script` names; `nil` where other words stand on the command line.
  static func text(for words: [String]) -> String? {
    let option = "--generate-completion-script"
    let name: String
    if words.count == 2, words[0] == option {
      name = words[1]
    } else if words.count == 1, words[0].hasPrefix("\(option)=") {
      name = String(words[0].dropFirst(option.count + 1))
    } else {
      return nil
    }
    guard let shell = CompletionShell(rawValue: name), let changes = changes[name] else { return nil }
    var script = WG6.completionScript(for: shell)
    for (before, after) in changes {
      // A newer ArgumentParser with other scripts needs other changes: the tests notice.
      guard script.contains(before) else { return nil }
      script = script.replacing(before, with: after)
    }
    return script
  }

  /// Lines of the scripts, and what takes their place. `%` stands for itself: printf's.
  private static let changes: [String: [(String, String)]] = [
    "bash": [
      // With -o filenames for all, bash takes a tunnel for the directory of that name, and quotes what it need not.
      ("complete -o filenames -F _wg6 wg6", "complete -F _wg6 wg6"),
      // bash cuts words at '@': what an option takes may begin with one.
      (
        "    local -r prev=\"${3}\"\n",
        """
            local prev="${3}"
            [[ "${prev}" != '@' ]] || prev="${COMP_WORDS[COMP_CWORD - 2]}"

        """
      ),
      (
        "__wg6_add_completions() {\n",
        """
        __wg6_add_completions() {
            if [[ "${1}" = -W && "${2}" = '\(FileOffer.configurations)' ]]; then
                set -- -o plusdirs -fX '!*.conf'
            elif [[ "${1}" = -W && "${2}" = '\(FileOffer.any)' ]]; then
                set -- -f
            fi
            [[ "${1}" = -W ]] || compopt -o filenames 2>/dev/null

        """
      ),
    ],
    "zsh": [
      (
        "    if [[ \"${#completions[@]}\" -gt 1 ]]; then\n",
        """
            if [[ "${completions[1]}" = '\(FileOffer.configurations)' ]]; then
                _files -g '*.conf'
            elif [[ "${completions[1]}" = '\(FileOffer.any)' ]]; then
                _files
            elif [[ "${#completions[@]}" -gt 1 ]]; then

        """
      )
    ],
    "fish": [
      // `commandline -C` with tokens fails in fish 3 where the line is not the one that is typed, as in `complete -C`.
      ("(__wg6_tokens -tC)", "(string length -- (commandline -ct))"),
      (
        "    command $tokens[1] $argv $tokens\n",
        """
            set -l found (command $tokens[1] $argv $tokens)
            if test "$found[1]" = '\(FileOffer.configurations)'
                string match -r '.*(?:\\.conf|/)(?=\\t|$)' -- (__fish_complete_path (commandline -ct))
            else if test "$found[1]" = '\(FileOffer.any)'
                __fish_complete_path (commandline -ct)
            else if test (count $found) -gt 0
                printf '%s\\n' $found
            end

        """
      ),
    ],
  ]
}
