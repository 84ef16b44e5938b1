package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) failbackCommand() *cobra.Command {
	var unplanned, yes, dryRun bool
	var f wire.Failback
	var wait waitFlags
	cmd := &cobra.Command{
		Use:   "failback GROUP [--unplanned] [--dry-run]",
		Short: "Bring a group back to where it was first protected",
		Long: `Bring a group back to the site where it was first protected: a failover in reverse, after understudy reprotect GROUP.

Machines that the group left there are used again: only what changed since is written to their disks, and what they held before is kept until
understudy commit GROUP. The others are created, as in a failover. By default it is planned: what runs now is stopped and synced a last
time, and nothing is lost.`,
		Example: "  understudy failback shop --dry-run\n  understudy failback shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := args[0]
			api, err := a.client()
			if err != nil {
				return err
			}
			f.Kind = "planned"
			if unplanned {
				f.Kind = "unplanned"
			}
			if dryRun {
				return a.previewFailover(cmd.Context(), api, group, wire.FailoverPreview{Failover: wire.Failover(f), Failback: true, Calls: true})
			}
			warning, err := a.failoverWarning(cmd.Context(), api, group, wire.Failover(f))
			if err != nil {
				return err
			}
			if err := a.confirm(yes, group, warning); err != nil {
				return err
			}
			run, err := api.Failback(cmd.Context(), group, f)
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&unplanned, "unplanned", false, "go back without what the group's site has: it is dead or given up")
	flags.StringVar(&f.Point, "point", "", "with --unplanned: latest (the default), a point's ID, a name, or a time")
	flags.StringVar(&f.Plan, "plan", "", "carry out this recovery plan")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	wait.add(cmd)
	return cmd
}

// previewFailover prints what a failover would do.
func (a *App) previewFailover(ctx context.Context, api *client.Client, group string, f wire.FailoverPreview) error {
	v, err := api.PreviewFailover(ctx, group, f)
	if err != nil {
		return err
	}
	if !a.Human() {
		return out.One(a.Printer, v, v.Point.ID)
	}
	a.Line("%s of %s from %s to %s", v.Kind, v.Group, v.Source, v.Target)
	if v.Kind == "planned-failover" {
		a.Line("  loses nothing: it takes a point that its last cycle makes; the newest now is %s of %s", v.Point.ID, out.Time(v.Point.Time))
	} else {
		a.Line("  takes point %s of %s (%s consistent); loses %s", v.Point.ID, out.Time(v.Point.Time), v.Point.Kind, out.Seconds(v.Lose))
	}
	if v.RTOSeconds != nil {
		a.Line("  up after about %s, as measured by %s", out.Seconds(*v.RTOSeconds), v.RTOFrom)
	}
	for _, m := range v.Machines {
		what := "created at " + v.Target + " as " + m.As
		if m.Original {
			what = fmt.Sprintf("the machine held at %s is used again, its disks compared (%s)", v.Target, out.Bytes(m.Changed))
			if m.Base != "" {
				what = fmt.Sprintf("the machine held at %s is used again: at point %s, %s to look at", v.Target, m.Base, out.Bytes(m.Changed))
			}
		}
		text := fmt.Sprintf("  %s: loses %s; %s", m.Name, out.Seconds(m.Lose), what)
		if m.RTOSeconds != nil {
			text += "; up after about " + out.Seconds(*m.RTOSeconds)
		}
		a.Line("%s", text)
	}
	for i, s := range v.Steps {
		a.Line("  %2d. %s", i+1, s)
	}
	a.printRefusal(v.Refused, v.Hint, v.Warnings)
	a.printCalls(v.Calls)
	if len(v.Checks) > 0 {
		if err := a.printChecks(v.Checks); err != nil {
			return err
		}
	}
	a.Note("nothing was changed")
	return nil
}

func (a *App) printRefusal(refused, hint string, warnings []string) {
	for _, w := range warnings {
		a.Line("%s %s", a.Styled(out.Warn, "warning:"), w)
	}
	if refused != "" {
		a.Line("%s %s", a.Styled(out.Bad, "it would be refused now:"), refused)
		if hint != "" {
			a.Line("hint: %s", hint)
		}
	}
}

func (a *App) reprotectCommand() *cobra.Command {
	var yes, dryRun bool
	var wait waitFlags
	cmd := &cobra.Command{
		Use:   "reprotect GROUP [--dry-run]",
		Short: "Protect a group at the site that it was failed over to, and prepare its way back",
		Long: `Protect a group where it runs after a failover that was committed.

Recovery points go on in the same vault, of which only differences are sent. The machines that the group left at its former site stay
held; what differs on their disks is written, so that going back needs little. What they held before is kept until a failback is committed
(understudy commit), and comes back with understudy unprotect. Then: understudy failback GROUP.

--dry-run reads disks of both sides and says what differs; of disks above 256 MiB it reads a sample.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := args[0]
			api, err := a.client()
			if err != nil {
				return err
			}
			if dryRun {
				return a.previewReprotect(cmd.Context(), api, group)
			}
			s, err := api.GroupStatus(cmd.Context(), group)
			if err != nil {
				return err
			}
			if err := a.confirm(yes, group, fmt.Sprintf("This makes recovery points of %s at %s, and writes them to the disks that it left at %s. What those hold is kept "+
				"until a failback is committed.", group, s.Site, s.Target)); err != nil {
				return err
			}
			run, err := api.Reprotect(cmd.Context(), group)
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "measure what would be copied, and change nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	wait.add(cmd)
	return cmd
}

func (a *App) previewReprotect(ctx context.Context, api *client.Client, group string) error {
	v, err := api.PreviewReprotect(ctx, group)
	if err != nil {
		return err
	}
	if !a.Human() {
		return out.One(a.Printer, v, v.Point)
	}
	type D = wire.ReprotectDisk
	about := func(d D, n int64) string {
		if d.Sampled {
			return "about " + out.Bytes(n)
		}
		return out.Bytes(n)
	}
	there := func(text func(D) string) func(D) string {
		return func(d D) string {
			if !d.Original {
				return "-"
			}
			return text(d)
		}
	}
	if len(v.Disks) > 0 {
		if err := out.List(a.Printer, v.Disks, func(d D) string { return d.Machine + "/" + d.Disk }, "",
			out.Col("DISK", func(d D) string { return d.Machine + "/" + d.Disk }),
			out.Num("SIZE", func(d D) string { return out.Bytes(d.Size) }),
			out.Num("SEND FROM "+v.Source, func(d D) string { return about(d, d.Send) }),
			out.Num("WRITE AT "+v.Target, there(func(d D) string { return about(d, d.Write) })),
			out.Num("ONLY AT "+v.Target, there(func(d D) string { return about(d, d.Alone) })),
			out.Num("TIME", func(d D) string { return out.Seconds(d.ETASeconds) })); err != nil {
			return err
		}
		a.Line("in all about %s; compared with point %s", out.Seconds(v.ETASeconds), v.Point)
	}
	var alone int64
	for _, d := range v.Disks {
		alone += d.Alone
	}
	if alone > 0 {
		a.Line("%s holds %s that are in no recovery point: they are written over, and kept until a failback is committed", v.Target, out.Bytes(alone))
	}
	a.printRefusal(v.Refused, v.Hint, v.Warnings)
	a.Note("nothing was changed")
	return nil
}

func (a *App) resolveCommand() *cobra.Command {
	var keep string
	var yes bool
	var wait waitFlags
	cmd := &cobra.Command{
		Use:   "resolve GROUP --keep SITE",
		Short: "End a split brain: say which site's machines are the group's",
		Long: `End a split brain: machines at a former site were seen running although the group was failed over.

Keeping the site where the group runs gives up what the others wrote; they stay held. Keeping the former site stops and holds what runs
now, and starts the machines of the former site with what they have; what the others wrote is given up, and stays on their disks until a
later failover there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "keep"); err != nil {
				return err
			}
			group := args[0]
			api, err := a.client()
			if err != nil {
				return err
			}
			s, err := api.GroupStatus(cmd.Context(), group)
			if err != nil {
				return err
			}
			other := s.Target
			if keep == s.Target {
				other = s.Site
			}
			if err := a.confirm(yes, group, fmt.Sprintf("This keeps what %s has of %s. What was written at %s alone is given up.", keep, group, other)); err != nil {
				return err
			}
			run, err := api.Resolve(cmd.Context(), group, wire.Resolve{Keep: keep})
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "the site whose machines are the group's")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	wait.add(cmd)
	return cmd
}

func (a *App) releaseCommand() *cobra.Command {
	var siteName string
	cmd := &cobra.Command{
		Use: "release NAME --site SITE", Short: "Let a machine start again that is held", Args: cobra.ExactArgs(1),
		Long: `Let a machine start again that was left behind by a failover and is held. As long as a group needs it to stay stopped, that is refused:
go back with understudy failback, or give the group up with understudy unprotect.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, true, "site"); err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.ReleaseMachine(cmd.Context(), siteName, args[0]); err != nil {
				return err
			}
			a.Note("%s at %s can start: understudy machine start %s --site %s", args[0], siteName, args[0], siteName)
			return nil
		},
	}
	cmd.Flags().StringVar(&siteName, "site", "", "the site")
	return cmd
}

// later is the state of a group in what follows a failover, for `status`.
func later(s wire.Status) (text, hint string, ok bool) {
	switch dr.State(s.State) {
	case dr.StateReprotecting:
		return fmt.Sprintf("is being protected at %s", s.Site), watchHint(s), true
	case dr.StateReprotectFailed:
		return fmt.Sprintf("runs at %s; protecting it there did not come to its end", s.Site),
			fmt.Sprintf("understudy run show %s; then understudy reprotect %s tries again", s.Run, s.Group), true
	case dr.StateResolving:
		return "a split brain is being ended", watchHint(s), true
	case dr.StateResolveFailed:
		return "ending the split brain failed: the group may run nowhere",
			fmt.Sprintf("understudy run show %s; then understudy split-brain resolve %s --keep %s, or --keep %s", s.Run, s.Group, s.Site, s.Target), true
	}
	return "", "", false
}
