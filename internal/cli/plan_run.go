package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func (a *App) planRunCommand() *cobra.Command {
	var test, planned, unplanned, yes bool
	var point string
	var wait waitFlags
	cmd := &cobra.Command{
		Use:   "run NAME --test | --planned | --unplanned [--point POINT]",
		Short: "Fail a group over by its plan, or rehearse that",
		Long: `Fail a group over by its plan, or rehearse that. It is the same as: understudy failover GROUP --plan NAME.
A rehearsal (--test) that comes to its end and is cleaned up verifies the plan.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "test", "planned", "unplanned"); err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			in := wire.RunPlan{Kind: "test", Point: point}
			switch {
			case planned:
				in.Kind = "planned"
			case unplanned:
				in.Kind = "unplanned"
			}
			if in.Kind != "test" && !yes {
				p, err := api.ShowPlan(cmd.Context(), args[0], client.ShowPlanQuery{})
				if err != nil {
					return err
				}
				warning, err := a.failoverWarning(cmd.Context(), api, p.Group, wire.Failover{Kind: in.Kind, Point: point, Plan: p.Name})
				if err != nil {
					return err
				}
				if p.NeedsVerification {
					warning += fmt.Sprintf("\nPlan %s version %d was never verified by a rehearsal.", p.Name, p.Version)
				}
				if err := a.confirm(yes, p.Group, warning); err != nil {
					return err
				}
			}
			run, err := api.RunPlan(cmd.Context(), args[0], in)
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
	flags.StringVar(&point, "point", "", "latest (the default), a point's ID, or a time")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	wait.add(cmd)
	return cmd
}

// answerCommands answer what a run asks.
func (a *App) answerCommands() []*cobra.Command {
	return []*cobra.Command{
		a.answerCommand("approve", "note", false, "Approve what a run waits for"),
		a.answerCommand("reject", "note", false, "Reject what a run waits for: the run ends"),
		a.answerCommand("retry", "note", false, "Do the action that a run asks about again"),
		a.answerCommand("skip", "reason", true, "Go on without the action that a run asks about"),
	}
}

func (a *App) answerCommand(verb, flag string, required bool, short string) *cobra.Command {
	var note, action string
	use := fmt.Sprintf("%s RUN [--%s TEXT]", verb, flag)
	if required {
		use = fmt.Sprintf("%s RUN --%s TEXT", verb, flag)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if required && note == "" {
				return usage(cmd, fmt.Errorf("--%s is needed: it is kept with the run", flag))
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			q, err := api.AnswerRun(cmd.Context(), args[0], wire.Answer{Answer: verb, Action: action, Note: note})
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, q, q.Run)
			}
			a.Note("%s: %s; the run goes on: understudy run watch %s", q.Action, verb, q.Run)
			return nil
		},
	}
	cmd.Flags().StringVar(&note, flag, "", "why; kept with the run")
	cmd.Flags().StringVar(&action, "action", "", "only when the run asks about this action: somebody else may have answered meanwhile")
	return cmd
}
