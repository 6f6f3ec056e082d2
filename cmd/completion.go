package cmd

import (
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
)

//go:generate sh -c "mkdir -p ../completions && go build -o ../completions/erlmcp ./erlmcp"
//go:generate sh -c "cd ../completions && ./erlmcp completion bash >erlmcp.bash && ./erlmcp completion zsh >_erlmcp"
//go:generate sh -c "cd ../completions && ./erlmcp completion fish >erlmcp.fish && ./erlmcp completion powershell >erlmcp.ps1"
//go:generate sh -c "cd ../completions && rm -rf man && ./erlmcp man man && ./erlmcp lb unit --packaged >../packaging/erlmcp-lb.service"
//go:generate sh -c "cd ../completions && ./erlmcp cluster unit --packaged >../packaging/erlmcp-cluster.service && rm erlmcp"
//go:generate go test ../internal/config -run TestReferenceIsCurrent -update

// shells are the shells there are completions for, and how each is generated.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"zsh":        (*cobra.Command).GenZshCompletion,
	"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	"powershell": (*cobra.Command).GenPowerShellCompletionWithDesc,
}

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long: `Print the script that teaches a shell to complete erlmcp's commands, flags and node names.

  bash:        source <(erlmcp completion bash)
  zsh:         erlmcp completion zsh > "${fpath[1]}/_erlmcp"
  fish:        erlmcp completion fish > ~/.config/fish/completions/erlmcp.fish
  powershell:  erlmcp completion powershell | Out-String | Invoke-Expression`,
		Example: `  source <(erlmcp completion bash)
  erlmcp completion fish > ~/.config/fish/completions/erlmcp.fish`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			generate, ok := shells[args[0]]
			if !ok {
				return exit.NotOneOf("SHELL", args[0], slices.Sorted(maps.Keys(shells)))
			}
			return generate(cmd.Root(), a.stdout)
		},
	}
}
