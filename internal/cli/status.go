package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func (a *App) statusCommand() *cobra.Command {
	var health, siteName, vault, sort string
	cmd := &cobra.Command{
		Use: "status [GROUP]", Short: "What would be lost now, for every group", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				s, err := api.GroupStatus(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("status of %s: %w", args[0], err)
				}
				return a.printStatus(s)
			}
			list, err := api.AllStatus(cmd.Context(), client.StatusQuery{Health: health, Site: siteName, Vault: vault, Sort: sort})
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			return a.printStatuses(list)
		},
	}
	cmd.Flags().StringVar(&health, "health", "", "only groups of this health: critical, unknown, warning or healthy")
	cmd.Flags().StringVar(&siteName, "site", "", "only groups that run at this site or have it as their target")
	cmd.Flags().StringVar(&vault, "vault", "", "only groups of this vault")
	cmd.Flags().StringVar(&sort, "sort", "name", "name, lag (the most to lose first) or health (the worst first)")
	return cmd
}

// onDuty reports whether a group is one that a failover now would bring up from its newest point.
func onDuty(s wire.Status) bool {
	switch s.State {
	case "planned-failover", "planned-failover-failed", "failover", "failover-failed", "failed-over", "committed", "disabled", "resolving", "resolve-failed":
		return false
	}
	return true
}

// loseText answers what would be lost.
func loseText(s wire.Status) string {
	switch {
	case s.LiveSince != nil:
		return "NOT PROTECTED"
	case !onDuty(s):
		return ""
	case s.LoseSeconds == nil:
		return "EVERYTHING"
	}
	return out.Seconds(*s.LoseSeconds)
}

func rpoText(s wire.Status) string {
	if !onDuty(s) {
		return ""
	}
	if s.RPOMet {
		return "ok"
	}
	return "MISSED"
}

// runsAtText is where the group's machines run; empty while that is being decided.
func runsAtText(s wire.Status) string {
	switch s.State {
	case "failover", "failover-failed", "resolving", "resolve-failed":
		return ""
	}
	return s.Site
}

// summary says in one sentence where the group stands, and what to do about it where that is not plain.
func summary(s wire.Status) (text, hint string) {
	lose := ""
	if s.LoseSeconds != nil {
		lose = out.Seconds(*s.LoseSeconds)
	}
	if s.Waiting != "" {
		return fmt.Sprintf("run %s WAITS FOR A PERSON: %s", s.Waiting, s.WaitingFor), "understudy run show " + s.Waiting
	}
	if text, hint, ok := later(s); ok {
		return text, hint
	}
	switch s.State {
	case "disabled":
		return "not protected", "understudy unprotect " + s.Group + " forgets it; understudy protect --help says how to begin anew"
	case "planned-failover":
		return fmt.Sprintf("is being moved from %s to %s; nothing is lost", s.Site, s.Target), watchHint(s)
	case "planned-failover-failed":
		return fmt.Sprintf("could not be moved to %s, nor given back to %s", s.Target, s.Site),
			fmt.Sprintf("understudy run show %s; then understudy failover %s --planned tries again", s.Run, s.Group)
	case "failover":
		return "is being failed over", watchHint(s)
	case "failover-failed":
		return "the failover failed: the group may run nowhere",
			fmt.Sprintf("understudy run show %s; then understudy failover %s --unplanned starts over", s.Run, s.Group)
	case "failed-over", "committed":
		text = fmt.Sprintf("runs at %s and is NOT PROTECTED there", s.Site)
		if lose != "" {
			text += fmt.Sprintf(": if %s is lost now, the last %s, all since the failover, are lost", s.Site, lose)
		}
		hint = "to protect it there: understudy reprotect " + s.Group
		if s.State == "failed-over" {
			hint = fmt.Sprintf("understudy commit %s when it is well; then understudy reprotect %s protects it there", s.Group, s.Group)
		}
		return text, hint
	}
	if lose == "" {
		return "nothing can be recovered yet", ""
	}
	return "fail over now: lose " + lose, ""
}

func watchHint(s wire.Status) string {
	if s.Run == "" {
		return ""
	}
	return "understudy run watch " + s.Run
}

func provenText(s wire.Status) string {
	if s.ProvenAt == nil {
		return "never"
	}
	text := s.ProvenAt.Local().Format("2006-01-02 15:04")
	if s.ProvenRTO != nil {
		text += ", RTO " + out.Seconds(*s.ProvenRTO)
	}
	return text
}

// stateText is the state in the life cycle, with what replication does where that is news.
func stateText(s wire.Status) string {
	text := s.State
	switch s.Replication {
	case "paused", "failing", "fenced":
		if onDuty(s) && s.State != s.Replication {
			text += ", " + s.Replication
		}
	}
	if s.State == "seeding" && s.Progress != nil && s.Progress.Total > 0 {
		text += fmt.Sprintf(" %d%%", s.Progress.Done*100/s.Progress.Total)
	}
	if s.Test != "" {
		text += ", test " + s.Test
	}
	if len(s.SplitBrain) > 0 {
		text += ", SPLIT BRAIN"
	}
	return text
}

func stateStyle(s wire.Status) out.StyleName {
	switch {
	case len(s.SplitBrain) > 0 || s.Failures > 2 || s.Replication == "fenced" || s.LiveSince != nil || s.State == "failover-failed":
		return out.Bad
	case s.Failures > 0 || s.Warning != "" || s.Replication == "paused" || s.State != "protected":
		return out.Warn
	}
	return out.Good
}

func healthStyle(s wire.Status) out.StyleName {
	switch s.Health {
	case "healthy":
		return out.Good
	case "critical":
		return out.Bad
	}
	return out.Warn
}

func rpoStyle(s wire.Status) out.StyleName {
	if s.LiveSince == nil && (s.RPOMet || !onDuty(s)) {
		return out.Plain
	}
	return out.Bad
}

func (a *App) printStatuses(list []wire.Status) error {
	type S = wire.Status
	err := out.List(a.Printer, list, func(s S) string { return s.Group }, "nothing is protected yet: understudy protect --help",
		out.Col("GROUP", func(s S) string { return s.Group }),
		out.Column[S]{Title: "HEALTH", Text: func(s S) string { return s.Health }, Style: healthStyle},
		out.Column[S]{Title: "STATE", Text: stateText, Style: stateStyle},
		out.Column[S]{Title: "FAIL OVER NOW: LOSE", Text: loseText, Style: rpoStyle, Right: true},
		out.Column[S]{Title: "RPO", Text: rpoText, Style: rpoStyle},
		out.Col("LAST POINT", func(s S) string { return s.LastPoint }),
		out.Col("RUNS AT", runsAtText),
		out.Col("TARGET", func(s S) string { return s.Target }),
		out.Col("PROVEN TO BOOT", provenText))
	if err != nil || !a.Human() {
		return err
	}
	for _, s := range list {
		if !onDuty(s) {
			text, hint := summary(s)
			a.lineHint(s.Group, text, hint)
		}
		a.lineHint(s.Group, s.Error, s.Hint)
		a.lineHint(s.Group, warningText(s), s.WarningHint)
		a.lineHint(s.Group, a.spooledLine(s), "")
		text, hint := drillNote(s.Drill)
		a.lineHint(s.Group, text, hint)
		for _, m := range s.SplitBrain {
			a.Line("%s: split brain: %s was running after the failover; see `understudy split-brain`, then understudy split-brain resolve %s --keep SITE", s.Group, m, s.Group)
		}
	}
	return nil
}

// lineHint prints a line on a group and its hint, where there are any.
func (a *App) lineHint(group, text, hint string) {
	if text == "" {
		return
	}
	a.Line("%s: %s", group, text)
	if hint != "" {
		a.Line("  hint: %s", hint)
	}
}

// spoolText says what is captured and not in the vault, and how old the newest is that is.
func (a *App) spoolText(s wire.Status) string {
	sp := s.Spool
	if sp == nil {
		return ""
	}
	text := fmt.Sprintf("%s, %s", out.Plural(sp.Points, "point"), out.Bytes(sp.Bytes))
	if s.KnownGood != nil {
		text += fmt.Sprintf("; newest in the vault is %s old", out.Seconds(max(0, a.Now().Sub(*s.KnownGood).Seconds())))
	}
	if sp.UnreachableSince != nil {
		text += "; vault unreachable since " + out.Time(*sp.UnreachableSince)
	}
	return text
}

func (a *App) spooledLine(s wire.Status) string {
	if s.Spool == nil {
		return ""
	}
	return "spooled: " + a.spoolText(s)
}

func warningText(s wire.Status) string {
	if s.Warning == "" {
		return ""
	}
	return "warning: " + s.Warning
}

func (a *App) printStatus(s wire.Status) error {
	if a.Human() {
		text, hint := summary(s)
		a.lineHint(s.Group, text, hint)
		text, hint = drillNote(s.Drill)
		a.lineHint(s.Group, text, hint)
	}
	cycle, progress := "", ""
	if c := s.LastCycle; c != nil {
		cycle = fmt.Sprintf("%s: read %s, changed %s, stored %s in %s, guests paused %s", c.Kind, out.Bytes(c.Read), out.Bytes(c.Changed),
			out.Bytes(c.Stored), out.Seconds(c.Seconds), out.Seconds(c.PausedSeconds))
		if c.Point == "" && c.Spooled == 0 {
			cycle = fmt.Sprintf("%s, checked in %s", c.Kind, out.Seconds(c.Seconds))
		}
		if c.SkewSeconds > 0 {
			cycle += ", disks within " + out.Seconds(c.SkewSeconds)
		}
		if c.Reason != "" {
			cycle += " (" + c.Reason + ")"
		}
	}
	if cycle != "" && s.LastCycle.Spooled > 0 {
		cycle += ", to the spool"
	}
	if p := s.Progress; p != nil {
		progress = fmt.Sprintf("%s, %s of %s", p.Phase, out.Bytes(p.Done), out.Bytes(p.Total))
	}
	rpo := out.Seconds(s.RPOSeconds)
	if t := rpoText(s); t != "" {
		rpo += ", " + t
	}
	health := s.Health
	if s.HealthReason != "" {
		health += ": " + s.HealthReason
	}
	return out.One(a.Printer, s, s.Group,
		out.Field{Title: "Health", Text: health}, out.Field{Title: "Replication", Text: s.Replicating}, out.Field{Title: "Recoverability", Text: s.Recoverability},
		out.Field{Title: "State", Text: stateText(s)}, out.Field{Title: "Runs at", Text: runsAtText(s)}, out.Field{Title: "Target", Text: s.Target},
		out.Field{Title: "Vault", Text: s.Vault}, out.Field{Title: "RPO", Text: rpo},
		out.Field{Title: "Known good", Text: timeText(s.KnownGood)}, out.Field{Title: "Last point", Text: s.LastPoint},
		out.Field{Title: "Last cycle", Text: cycle}, out.Field{Title: "Now", Text: progress}, out.Field{Title: "Spooled", Text: a.spoolText(s)},
		out.Field{Title: "Proven to boot", Text: provenText(s)}, out.Field{Title: "Next drill", Text: nextDrill(s)}, out.Field{Title: "Failover run", Text: s.Run}, out.Field{Title: "Test run", Text: s.TestRun},
		out.Field{Title: "Split brain", Text: joinNames(s.SplitBrain)},
		out.Field{Title: "Live since", Text: timeText(s.LiveSince)},
		out.Field{Title: "Error", Text: s.Error}, out.Field{Title: "Hint", Text: s.Hint},
		out.Field{Title: "Warning", Text: s.Warning}, out.Field{Title: "Warning hint", Text: s.WarningHint})
}

func nextDrill(s wire.Status) string {
	if s.Drill == nil {
		return ""
	}
	return nextText(*s.Drill)
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return out.Time(*t)
}

// groupCommand is a command on one group that has nothing to show.
func (a *App) groupCommand(verb, short, done string, do func(*cobra.Command, *client.Client, string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " GROUP", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := do(cmd, api, args[0]); err != nil {
				return err
			}
			if done != "" {
				a.Note(done, args[0])
			}
			return nil
		},
	}
}

func (a *App) pauseCommand() *cobra.Command {
	return a.groupCommand("pause", "Pause replication", "%s: paused; what a failover would lose grows until `understudy resume`",
		func(cmd *cobra.Command, api *client.Client, group string) error {
			return api.Pause(cmd.Context(), group)
		})
}

func (a *App) resumeCommand() *cobra.Command {
	return a.groupCommand("resume", "Go on with replication", "%s: replicating",
		func(cmd *cobra.Command, api *client.Client, group string) error {
			return api.Resume(cmd.Context(), group)
		})
}

func (a *App) unprotectCommand() *cobra.Command {
	var yes bool
	cmd := a.groupCommand("unprotect", "Stop protecting a group; its recovery points stay", "%s: not protected any more; its recovery points stay in the vault",
		func(cmd *cobra.Command, api *client.Client, group string) error {
			if err := a.confirm(yes, group, "This stops replication of "+group+". Its recovery points stay."); err != nil {
				return err
			}
			return api.Unprotect(cmd.Context(), group)
		})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
