package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) failoverCommand() *cobra.Command {
	var test, planned, unplanned, yes, dryRun bool
	var point, plan string
	var wait waitFlags
	cmd := &cobra.Command{
		Use:   "failover GROUP --test | --planned | --unplanned [--point POINT] [--dry-run]",
		Short: "Bring a group up at its target, or rehearse it",
		Long: `Bring a group up at its target site.

  --test       in an isolated network, beside the running group; replication goes on. Ends with: understudy cleanup GROUP
  --planned    the source is stopped and synced a last time: nothing is lost
  --unplanned  the source is dead or given up: what came after the recovery point is lost

A source that is failed over is fenced: it is kept from running again. After a failover: understudy commit GROUP,
then understudy reprotect GROUP protects it where it runs, and understudy failback GROUP brings it back.

--dry-run says which point, what is lost, what happens in order and how long it should take; for machines that change
their provider what understudy preflight says; and for sites of Azure which requests would be sent.`,
		Example: `  understudy failover shop --test
  understudy failover shop --unplanned --point "2026-11-20 14:00"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := args[0]
			if err := oneOf(cmd, true, "test", "planned", "unplanned"); err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			f := wire.Failover{Kind: "test", Point: point, Plan: plan}
			switch {
			case planned:
				f.Kind = "planned"
			case unplanned:
				f.Kind = "unplanned"
			}
			if dryRun {
				return a.previewFailover(cmd.Context(), api, group, wire.FailoverPreview{Failover: f, Calls: true})
			}
			if f.Kind != "test" {
				warning, err := a.failoverWarning(cmd.Context(), api, group, f)
				if err != nil {
					return err
				}
				if err := a.confirm(yes, group, warning); err != nil {
					return err
				}
			}
			run, err := api.Failover(cmd.Context(), group, f)
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&test, "test", false, "rehearse in an isolated network")
	flags.BoolVar(&planned, "planned", false, "stop the source, sync it a last time, and go on at the target")
	flags.BoolVar(&unplanned, "unplanned", false, "go on at the target without the source")
	flags.StringVar(&point, "point", "", "latest (the default), latest-application, an ID, a name, or a time")
	flags.StringVar(&plan, "plan", "", "carry out this recovery plan")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	wait.add(cmd)
	return cmd
}

// failoverWarning says what a failover will do, with the numbers of now.
func (a *App) failoverWarning(ctx context.Context, api *client.Client, group string, f wire.Failover) (string, error) {
	s, err := api.GroupStatus(ctx, group)
	if err != nil {
		return "", err
	}
	if f.Kind == "planned" {
		return fmt.Sprintf("This stops %s at %s, syncs it a last time and starts it at %s. Nothing is lost.", group, s.Site, s.Target), nil
	}
	if s.State == string(dr.StateFailedOver) {
		return fmt.Sprintf("This starts %s at %s again from another point: what it did there since the failover is lost.", group, s.Site), nil
	}
	loss := "everything since the chosen point is lost"
	if f.Point == "" || f.Point == "latest" {
		loss = "nothing can be recovered yet"
		if s.LoseSeconds != nil {
			loss = fmt.Sprintf("the newest point is %s: the last %s is lost", s.LastPoint, out.Seconds(*s.LoseSeconds))
		}
	}
	return fmt.Sprintf("This starts %s at %s without what is at %s: %s. %s is fenced.", group, s.Target, s.Site, loss, s.Site), nil
}

// confirm asks a person to type a name before something severe. Where nobody can be asked, --yes must be given.
func (a *App) confirm(yes bool, name, warning string) error {
	if yes {
		return nil
	}
	if a.noInput || !isatty.IsTerminal(a.In.Fd()) || !a.ErrTTY {
		return invalid("add --yes", "this needs a confirmation, and nobody can be asked here")
	}
	fmt.Fprintf(a.Err, "%s\nType %s to go on: ", warning, a.Styled(out.Bold, name))
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return invalid("", "%q is not %s: nothing was done", strings.TrimSpace(line), name)
	}
	return nil
}

func (a *App) commitCommand() *cobra.Command {
	return a.startCommand("commit", "Make a failover final: the other recovery points can no longer be chosen",
		func(ctx context.Context, api *client.Client, group string) (wire.Run, error) {
			return api.Commit(ctx, group)
		})
}

func (a *App) cleanupCommand() *cobra.Command {
	return a.startCommand("cleanup", "Remove what a test failover made",
		func(ctx context.Context, api *client.Client, group string) (wire.Run, error) {
			return api.Cleanup(ctx, group)
		})
}

// startCommand is a command on one group that begins a run.
func (a *App) startCommand(verb, short string, start func(context.Context, *client.Client, string) (wire.Run, error)) *cobra.Command {
	var wait waitFlags
	cmd := &cobra.Command{
		Use: verb + " GROUP", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			run, err := start(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	wait.add(cmd)
	return cmd
}
