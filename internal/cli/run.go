package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run", Aliases: []string{"runs"}, Short: "Runs: failovers, rehearsals and what belongs to them"}
	cmd.AddCommand(a.runListCommand(), a.runShowCommand(), a.runWatchCommand(), a.runCancelCommand(), a.runResumeCommand(), a.runReportCommand())
	cmd.AddCommand(a.answerCommands()...)
	return cmd
}

func (a *App) runListCommand() *cobra.Command {
	var f client.ListRunsQuery
	cmd := &cobra.Command{
		Use: "list [--group GROUP] [--active]", Short: "List runs, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			page, err := api.ListRuns(cmd.Context(), f)
			if err != nil {
				return fmt.Errorf("list runs: %w", err)
			}
			type R = wire.Run
			return out.List(a.Printer, page.Items, func(r R) string { return r.ID }, "no runs",
				out.Col("ID", func(r R) string { return r.ID }),
				out.Col("KIND", func(r R) string { return r.Kind }),
				out.Col("OF", about),
				out.Column[R]{Title: "STATE", Text: func(r R) string { return r.State }, Style: func(r R) out.StyleName { return runStyle(r.State) }},
				out.Col("ASKED FOR", func(r R) string { return out.Time(r.Requested) }),
				out.Num("TOOK", func(r R) string { return a.took(&r.Requested, r.Ended) }),
				out.Col("NOTE", runNote))
		},
	}
	cmd.Flags().StringVar(&f.Group, "group", "", "only runs of this group")
	cmd.Flags().BoolVar(&f.Active, "active", false, "only runs that have not ended")
	cmd.Flags().Int64Var(&f.Limit, "limit", 20, "how many at most")
	return cmd
}

func runStyle(state string) out.StyleName {
	switch state {
	case "succeeded":
		return out.Good
	case "failed":
		return out.Bad
	case "cancelled", "waiting":
		return out.Warn
	}
	return out.Plain
}

func runNote(r wire.Run) string {
	if r.Error != "" {
		return r.Error
	}
	if rto, ok := r.Result["rtoSeconds"].(float64); ok && rto > 0 {
		return "RTO " + out.Seconds(rto)
	}
	return r.Message
}

// took is how long something took, or takes so far.
func (a *App) took(started, ended *time.Time) string {
	switch {
	case started == nil:
		return ""
	case ended == nil:
		return out.Duration(a.Now().Sub(*started).Truncate(time.Second))
	}
	return out.Duration(ended.Sub(*started))
}

func (a *App) runShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run and its steps", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			r, err := api.ShowRun(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show run %s: %w", args[0], err)
			}
			if !a.Human() {
				return out.One(a.Printer, r, r.ID)
			}
			a.printRun(cmd.Context(), api, r)
			return nil
		},
	}
}

func (a *App) printRun(ctx context.Context, api *client.Client, r wire.Run) {
	a.Line("%s  %s of %s: %s, %s", r.ID, r.Kind, about(r), a.Styled(runStyle(r.State), r.State), a.took(&r.Requested, r.Ended))
	for _, s := range r.Steps {
		a.Line("%s", a.stepLine(s))
	}
	a.printOutcome(ctx, api, r)
}

var stepMarks = map[string]string{"succeeded": "done", "failed": "FAILED", "cancelled": "cancelled", "running": "...", "waiting": "waiting", "pending": ""}

func (a *App) stepLine(s wire.Step) string {
	title := s.Title
	if title == "" {
		title = s.Name
	}
	line := fmt.Sprintf("  %-9s %s", stepMarks[s.State], title)
	if t := a.took(s.Started, s.Ended); t != "" {
		line += " (" + t + ")"
	}
	if s.Total > 0 && s.State == "running" {
		line += fmt.Sprintf(" %s of %s", out.Bytes(s.Done), out.Bytes(s.Total))
		if s.Rate > 0 {
			line += ", " + out.Bytes(s.Rate) + "/s"
		}
		if s.ETA != "" {
			line += ", " + s.ETA + " left"
		}
	}
	if s.Attempts > 1 {
		line += fmt.Sprintf(", attempt %d", s.Attempts)
	}
	switch {
	case s.Error != "":
		line += ": " + s.Error
	case s.Message != "":
		line += ": " + s.Message
	}
	return line
}

// printOutcome says what a run achieved and what comes next.
func (a *App) printOutcome(ctx context.Context, api *client.Client, r wire.Run) {
	if point, ok := r.Result["point"].(string); ok && point != "" {
		a.Line("point %s", point)
	}
	if rto, ok := r.Result["rtoSeconds"].(float64); ok && rto > 0 {
		rpo, _ := r.Result["rpoSeconds"].(float64)
		a.Line("achieved RPO %s, RTO %s", out.Seconds(rpo), out.Seconds(rto))
		if ready, ok := r.Result["readySeconds"].(float64); ok && ready > rto+1 {
			a.Line("the plan was complete after %s", out.Seconds(ready))
		}
	}
	a.printExtensions(r)
	a.printCopy(r)
	if r.Error != "" {
		a.Line("error: %s", r.Error)
	}
	if r.Hint != "" {
		a.Line("hint: %s", r.Hint)
	}
	if r.State != "succeeded" {
		return
	}
	var s wire.Status
	switch r.Kind {
	case "test-failover", "failover", "planned-failover", "commit":
		var err error
		if s, err = api.GroupStatus(ctx, r.Group); err != nil {
			return // what the run did is said; whether anything is left to do is not known
		}
	}
	if text := next(r, s); text != "" {
		a.Note("next: %s", text)
	}
}

// next is what a run that succeeded leaves to a person. A run may be looked at long after it: what was done since, or
// would be refused for another reason, is not said.
func next(r wire.Run, s wire.Status) string {
	may := func(o dr.Operation) bool { return slices.Contains(s.Allowed, string(o)) }
	switch r.Kind {
	case "test-failover":
		if s.TestRun == r.ID && may(dr.OpCleanup) {
			return "look at it, then understudy cleanup " + r.Group
		}
	case "drill":
		return "understudy run report " + r.ID + " --out report.html"
	case "failover", "planned-failover":
		if s.Run == r.ID && may(dr.OpCommit) {
			return "look at it, then understudy commit " + r.Group
		}
	case "commit":
		if may(dr.OpReprotect) {
			return "understudy reprotect " + r.Group
		}
	case "reprotect":
		return "understudy failback " + r.Group + ", when it is time"
	}
	return ""
}

// waitFlags say whether to wait for a run.
type waitFlags struct{ wait, noWait bool }

func (w *waitFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait for the end and show the steps (the default on a terminal)")
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "return at once with the run's ID")
}

// follow shows a run that was begun: to its end, or only its ID.
func (a *App) follow(cmd *cobra.Command, api *client.Client, run wire.Run, w waitFlags) error {
	if w.noWait || !w.wait && !a.OutTTY {
		if a.Human() {
			a.Line("%s", run.ID)
			a.Note("watch it: understudy run watch %s", run.ID)
			return nil
		}
		return out.One(a.Printer, run, run.ID)
	}
	return a.watch(cmd, api, run.ID)
}

func (a *App) runWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "watch RUN", Short: "Show the steps of a run as they happen, until it ends",
		Long: "Show the steps of a run as they happen, until it ends. With -o json: one JSON object a line, the whole run at every change.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			return a.watch(cmd, api, args[0])
		},
	}
}

// sayEvery is how often a step that copies much is said again.
const sayEvery = 5 * time.Second

func (a *App) watch(cmd *cobra.Command, api *client.Client, id string) error {
	a.OnInterrupt("the run goes on. Watch it again: understudy run watch %s; stop it: understudy run cancel %s", id, id)
	said := map[string]string{}
	when := map[string]time.Time{}
	var last wire.Run
	err := api.Watch(cmd.Context(), id, func(r wire.Run) error {
		if last.ID == "" {
			a.Line("%s  %s of %s", r.ID, r.Kind, about(r))
		}
		last = r
		if err := a.Event(r); err != nil {
			return err
		}
		for _, s := range r.Steps {
			// A step is said when it begins, when it ends, and every few seconds in between when it is a long copy.
			news := s.State + s.Error
			slow := s.State == "running" && s.Rate > 0 && a.Now().Sub(when[s.Name]) >= sayEvery
			if s.State == "pending" || said[s.Name] == news && !slow {
				continue
			}
			said[s.Name], when[s.Name] = news, a.Now()
			a.Line("%s", a.stepLine(s))
		}
		if r.Kind == "move" && r.State == "waiting" {
			return errWaits
		}
		return nil
	})
	if errors.Is(err, errWaits) {
		return nil
	}
	if err != nil {
		return err
	}
	switch a.Format {
	case out.YAML, out.Name:
		if err := out.One(a.Printer, last, last.ID); err != nil {
			return err
		}
	case out.Table:
		a.Line("%s: %s in %s", last.ID, a.Styled(runStyle(last.State), last.State), a.took(&last.Requested, last.Ended))
		a.printOutcome(cmd.Context(), api, last)
	}
	return outcome(last)
}

// outcome is the error of a run that did not succeed.
func outcome(r wire.Run) error {
	switch r.State {
	case "failed":
		return dr.WithHint(fmt.Errorf("%s %s of %s: %w", r.Kind, r.ID, about(r), out.ErrChecks), dr.KindInternal, "understudy run show "+r.ID)
	case "cancelled":
		return dr.WithHint(fmt.Errorf("%s %s of %s was cancelled", r.Kind, r.ID, about(r)), dr.KindConflict, "understudy run show "+r.ID)
	}
	return nil
}

func (a *App) runCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel RUN", Short: "Ask a run to stop", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.CancelRun(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("asked %s to stop; watch it: understudy run watch %s", args[0], args[0])
			return nil
		},
	}
}

func (a *App) splitBrainCommand() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "split-brain [--group GROUP]", Aliases: []string{"fences"}, Short: "Machines that are held after a failover, and those that came back to life",
		Long: `List the machines that must not run at their former site after a failover. One with a time under CAME BACK was seen running there:
a split brain. It is stopped and held, and its disks are left alone, so that what it did alone can be saved before it is given up.
Exits with 5 when there is a split brain.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.AllFences(cmd.Context(), client.ListFencesQuery{Group: group})
			if err != nil {
				return fmt.Errorf("list held machines: %w", err)
			}
			type F = wire.Fence
			err = out.List(a.Printer, list, func(f F) string { return f.Site + "/" + f.Machine }, "no machine is held",
				out.Col("GROUP", func(f F) string { return f.Group }),
				out.Col("SITE", func(f F) string { return f.Site }),
				out.Col("MACHINE", func(f F) string { return f.Machine }),
				out.Col("HELD", func(f F) string { return out.YesNo(f.Held) }),
				out.Col("POWER", func(f F) string { return f.Power }),
				out.Column[F]{Title: "CAME BACK", Text: func(f F) string { return timeText(f.SplitBrain) }, Style: func(F) out.StyleName { return out.Bad }},
				out.Col("WHY", func(f F) string { return cmp.Or(f.Error, f.Reason) }))
			for _, f := range list {
				if f.SplitBrain != nil && err == nil {
					err = dr.WithHint(fmt.Errorf("split brain: %s at %s was running after the failover of %s", f.Machine, f.Site, f.Group), dr.KindFenced,
						"save what it alone has, then: understudy split-brain resolve "+f.Group+" --keep SITE")
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&group, "group", "", "only this group")
	cmd.AddCommand(a.resolveCommand())
	return cmd
}
