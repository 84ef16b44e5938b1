package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
)

func (a *App) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{a.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if a.Human() {
				a.Line("understudy %s (%s, %s)", v.Version, v.Platform, v.Go)
				return nil
			}
			return out.One(a.Printer, v, v.Version)
		},
	}
}

// exitCodes is the text of `understudy help exit-codes`.
const exitCodes = `Exit codes of understudy:

  0    done
  1    an error that has no code of its own
  2    wrong usage or invalid input: mend it and try again
  3    something named does not exist
  4    refused by the present state, such as a file that exists or a run that is active
  5    fenced: another site owns the group, or a split brain
  6    stored data is corrupt
  7    something needed is not available: the controller, a tool, a vault
  8    a run or an examination ended and found something wrong
  130  interrupted
`

// exitCodesTopic is a topic of the help: a command that does nothing.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodes}
}
