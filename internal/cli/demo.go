package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/demo"
)

func (a *App) demoCommand() *cobra.Command {
	var o demo.Options
	var end string
	c := &cobra.Command{
		Use: "demo [--keep]", Short: "Show a site dying and its machines coming back, on this machine", Args: cobra.NoArgs,
		Long: `Starts two tiny machines at a site, east, replicates them, rehearses a failover, kills the site in mid-write,
fails over to another site, west, and checks every record that the recovered database has against those that
were acknowledged. Each machine has a metrics agent that west does not know: there it runs and is dead, until the
recovery plan revives it and its heartbeat arrives. Takes up to three minutes and leaves nothing behind. Everything stays below one temporary
folder and on the loopback address.

With -o json the story goes to standard error, and standard output is one JSON object:
ok, acknowledged, recovered, lost, rpoSeconds, rtoSeconds, bytesMoved, extensions, checks.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if end != "" {
				if err := demo.End(end); err != nil {
					return err
				}
				a.Note("the demonstration in %s is taken down", end)
				return nil
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program, o.JSON, o.Out, o.Story = program, a.Format == out.JSON, a.Out, a.Out
			if o.JSON {
				o.Story = a.Err
			}
			if o.Guest, err = guestDir(o.Guest); err != nil {
				return err
			}
			a.OnInterrupt("taking everything down; press Ctrl-C again to leave it as it is")
			_, err = demo.Run(c.Context(), o)
			if errors.Is(err, demo.ErrFailed) {
				return fmt.Errorf("demo: %w", out.ErrChecks)
			}
			return err
		},
	}
	c.Flags().BoolVar(&o.Keep, "keep", false, "leave everything running to play with")
	c.Flags().StringVar(&o.Guest, "guest", os.Getenv("UNDERSTUDY_GUEST_DIR"), "folder of the guest's files, built there when missing (default: in the user's cache folder)")
	c.AddCommand(a.demoConsoleCommand(), a.demoAzureCommand())
	c.Flags().StringVar(&end, "end", "", "take down the demonstration that was kept in this folder")
	return c
}

func (a *App) demoConsoleCommand() *cobra.Command {
	var o demo.ConsoleOptions
	c := &cobra.Command{
		Use: "console", Short: "Set the stage, and leave rehearsal, disaster and failover to you in the web console", Args: cobra.NoArgs,
		Long: `Starts the two tiny machines of the demonstration at a site, east, replicates them to a vault, and says where the web
console is and the one-time token for it. Rehearse and fail over there as you like; type kill, and east dies in mid-write.
Ctrl-C, or end, takes everything down.`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Program, err = os.Executable(); err != nil {
				return err
			}
			if o.Guest, err = guestDir(o.Guest); err != nil {
				return err
			}
			o.Story, o.In = a.Out, a.In
			a.OnInterrupt("taking everything down; press Ctrl-C again to leave it as it is")
			return demo.RunConsole(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.Guest, "guest", os.Getenv("UNDERSTUDY_GUEST_DIR"), "folder of the guest's files, built there when missing (default: in the user's cache folder)")
	return c
}

func (a *App) demoAzureCommand() *cobra.Command {
	var o demo.AzureOptions
	c := &cobra.Command{
		Use: "azure [--simulator FILE]", Short: "Show a region of a simulated Azure dying and its machines coming back in another", Args: cobra.NoArgs,
		Long: `Protects two machines of a simulated Azure from one region to another, takes the region down, fails over, puts the
monitoring agents back that a copy of the disks does not bring, goes home, and clones a machine between regions while the keys
to its disks expire. No guest boots in the simulation: a machine is state, and its disks are bytes. Leaves nothing behind.

The simulator is a program of its own: go build -o bin/azsim ./test/azsim, in the project's folder.`,
		RunE: func(c *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program, o.JSON, o.Out, o.Story = program, a.Format == out.JSON, a.Out, a.Out
			if o.JSON {
				o.Story = a.Err
			}
			if o.Simulator == "" {
				o.Simulator = filepath.Join(filepath.Dir(program), "azsim")
			}
			_, err = demo.RunAzure(c.Context(), o)
			if errors.Is(err, demo.ErrFailed) {
				return fmt.Errorf("demo: %w", out.ErrChecks)
			}
			return err
		},
	}
	c.Flags().StringVar(&o.Simulator, "simulator", "", "the simulated Azure (default: azsim beside this program)")
	return c
}

// guestDir is where the guest's files are kept between demonstrations.
func guestDir(set string) (string, error) {
	if set != "" {
		return set, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	return filepath.Join(cache, "understudy", "guest"), nil
}
