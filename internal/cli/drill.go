package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

func (a *App) drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drill", Aliases: []string{"drills"}, Short: "Drills: rehearsals that take evidence and clean up after themselves",
		Long: `A drill brings copies of a group's machines up in an isolated network at the target, waits until they are healthy, keeps what each
showed, and removes everything again. Production and its replication go on meanwhile. A drill that passed and was cleaned up
is the proof that the group boots, with the recovery time that was measured.`,
	}
	cmd.AddCommand(a.drillRunCommand(), a.drillListCommand(), a.drillShowCommand(), a.drillScheduleCommand(), a.drillUnscheduleCommand())
	return cmd
}

func (a *App) drillRunCommand() *cobra.Command {
	var in wire.DrillRequest
	var wait waitFlags
	cmd := &cobra.Command{
		Use: "run GROUP [--plan NAME] [--point POINT] [--keep]", Short: "Rehearse a group now", Args: cobra.ExactArgs(1),
		Example: `  understudy drill run shop --wait
  understudy run report RUN --out report.html`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			run, err := api.RunDrill(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.follow(cmd, api, run, wait)
		},
	}
	cmd.Flags().StringVar(&in.Plan, "plan", "", "recovery plan to carry out (default: the group's own order)")
	cmd.Flags().StringVar(&in.Point, "point", "", "latest (the default), a point's ID, or a time")
	cmd.Flags().BoolVar(&in.Keep, "keep", false, "leave the machines when the drill fails, to look at them")
	wait.add(cmd)
	return cmd
}

func (a *App) drillScheduleCommand() *cobra.Command {
	var in wire.DrillSchedule
	var window, overdue string
	cmd := &cobra.Command{
		Use: "schedule GROUP --cron EXPRESSION [--tz ZONE] [--plan NAME] [--overdue-after AGE]", Short: "Rehearse a group again and again", Args: cobra.ExactArgs(1),
		Long: `Set when a group is rehearsed, in place of an earlier schedule.

The expression has five fields: minute, hour, day of month, month, day of week (0 or SUN is Sunday); or @daily, @weekly, @monthly.
When both days are given both must match. A time that the change to summer time skips is due right after the change; one that
the change back repeats is due once.

A drill that could not begin on time, because no controller ran or the group was busy, begins once within --window.`,
		Example: `  understudy drill schedule shop --cron "0 3 * * 1" --tz Europe/Paris --overdue-after 8d
  understudy drill schedule shop --cron "30 2 1-7 * SUN" --plan shop-plan      # the first Sunday of the month`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Cron == "" {
				return usage(cmd, fmt.Errorf("--cron is needed"))
			}
			for name, field := range map[string]struct {
				text string
				to   *wire.Duration
			}{"window": {window, &in.Window}, "overdue-after": {overdue, &in.OverdueAfter}} {
				if field.text == "" {
					continue
				}
				if err := field.to.UnmarshalText([]byte(field.text)); err != nil {
					return fmt.Errorf("--%s: %w", name, err)
				}
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			d, err := api.ScheduleDrill(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.printDrill(d)
		},
	}
	cmd.Flags().StringVar(&in.Cron, "cron", "", `when, such as "0 3 * * 1" for Mondays at 03:00`)
	cmd.Flags().StringVar(&in.TZ, "tz", "UTC", "time zone, such as Europe/Paris")
	cmd.Flags().StringVar(&in.Plan, "plan", "", "recovery plan to carry out (default: the group's own order)")
	cmd.Flags().BoolVar(&in.Keep, "keep", false, "leave the machines of a drill that fails, to look at them")
	cmd.Flags().StringVar(&window, "window", "", "how late a drill may begin that could not begin on time (default 4h)")
	cmd.Flags().StringVar(&overdue, "overdue-after", "", "age of the last proof from which you are reminded (default: the longest time between two drills, and the window)")
	return cmd
}

func (a *App) drillUnscheduleCommand() *cobra.Command {
	return a.groupCommand("unschedule", "End the schedule of a group's drills", "%s: drills are no longer due",
		func(cmd *cobra.Command, api *client.Client, group string) error {
			return api.UnscheduleDrill(cmd.Context(), group)
		})
}

func (a *App) drillListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "How every group stands with its rehearsals", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.AllDrills(cmd.Context(), client.ListDrillsQuery{})
			if err != nil {
				return fmt.Errorf("list drills: %w", err)
			}
			type D = wire.Drill
			err = out.List(a.Printer, list, func(d D) string { return d.Group }, "nothing is protected yet: understudy protect --help",
				out.Col("GROUP", func(d D) string { return d.Group }),
				out.Col("SCHEDULE", scheduleText),
				out.Col("NEXT", func(d D) string { return nextText(d) }),
				out.Column[D]{Title: "LAST DRILL", Text: lastText, Style: lastStyle},
				out.Column[D]{Title: "PROVEN TO BOOT", Text: drillProof, Style: func(d D) out.StyleName {
					if d.Overdue {
						return out.Bad
					}
					return out.Plain
				}})
			if err != nil || !a.Human() {
				return err
			}
			for _, d := range list {
				text, hint := drillNote(&d)
				a.lineHint(d.Group, text, hint)
			}
			return nil
		},
	}
}

func (a *App) drillShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show GROUP", Short: "How a group stands with its rehearsals", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			d, err := api.ShowDrill(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show drills of %s: %w", args[0], err)
			}
			return a.printDrill(d)
		},
	}
}

func (a *App) printDrill(d wire.Drill) error {
	if a.Human() {
		text, hint := drillNote(&d)
		a.lineHint(d.Group, text, hint)
	}
	fields := []out.Field{{Title: "Group", Text: d.Group}, {Title: "Schedule", Text: scheduleText(d)}}
	if s := d.Schedule; s != nil {
		for i := range d.Upcoming {
			title := ""
			if i == 0 {
				title = "Due"
			}
			fields = append(fields, out.Field{Title: title, Text: zoneTime(d, i)})
		}
		limit := ""
		if d.LimitSeconds != nil {
			limit = "when the proof is older than " + out.Seconds(*d.LimitSeconds)
		}
		fields = append(fields, out.Field{Title: "Begins late by", Text: "at most " + dr.FormatDuration(time.Duration(s.Window))},
			out.Field{Title: "Overdue", Text: limit}, out.Field{Title: "Plan", Text: s.Plan}, out.Field{Title: "Set by", Text: d.By})
	}
	fields = append(fields, out.Field{Title: "Last drill", Text: lastText(d)}, out.Field{Title: "Proven to boot", Text: drillProof(d)})
	if d.Last != nil {
		fields = append(fields, out.Field{Title: "Report", Text: "understudy run report " + d.Last.ID + " --out report.html"})
	}
	return out.One(a.Printer, d, d.Group, fields...)
}

func scheduleText(d wire.Drill) string {
	if d.Schedule == nil {
		return "none"
	}
	return d.Schedule.Cron + ", " + d.Schedule.TZ
}

func nextText(d wire.Drill) string {
	if len(d.Upcoming) == 0 {
		return ""
	}
	return zoneTime(d, 0)
}

// zoneTime is a due time by the clocks of the schedule's zone.
func zoneTime(d wire.Drill, i int) string {
	zone, err := time.LoadLocation(d.Schedule.TZ)
	if err != nil {
		zone = time.UTC
	}
	return d.Upcoming[i].In(zone).Format("Mon 2006-01-02 15:04 MST")
}

func lastText(d wire.Drill) string {
	if d.Last == nil {
		return "never"
	}
	return fmt.Sprintf("%s %s, %s", d.Last.ID, d.Last.State, d.Last.Requested.Local().Format("2006-01-02 15:04"))
}

func lastStyle(d wire.Drill) out.StyleName {
	if d.Last == nil {
		return out.Plain
	}
	return runStyle(d.Last.State)
}

func drillProof(d wire.Drill) string {
	return provenText(wire.Status{ProvenAt: d.ProvenAt, ProvenRTO: d.ProvenRTO})
}

// drillNote says what is the matter with a group's rehearsals, and what helps.
func drillNote(d *wire.Drill) (text, hint string) {
	if d == nil {
		return "", ""
	}
	switch {
	case d.Overdue && d.ProvenAt == nil:
		text = fmt.Sprintf("drill overdue: never proven to boot, and the schedule is %s old", out.Seconds(*d.OverdueSeconds))
	case d.Overdue:
		text = fmt.Sprintf("drill overdue: last proven to boot %s ago, the limit is %s", out.Seconds(*d.OverdueSeconds), out.Seconds(*d.LimitSeconds))
	}
	if text != "" {
		hint = "understudy drill run " + d.Group
		if d.Last != nil && d.Last.State == "failed" {
			hint = fmt.Sprintf("the last one failed: understudy run report %s --out report.html; then understudy drill run %s", d.Last.ID, d.Group)
		}
		return text, hint
	}
	if d.Problem != "" {
		return "the drill that is due cannot begin: " + d.Problem, d.Hint
	}
	return "", ""
}

func (a *App) runReportCommand() *cobra.Command {
	var format, file string
	cmd := &cobra.Command{
		Use: "report RUN [--format html|json] [--out FILE]", Short: "Report on a run in one file, with its evidence in it", Args: cobra.ExactArgs(1),
		Long: `Write a report on a run, with all that is known of it: what was recovered, when each machine was healthy, what each showed, how
replication went on, and every step. It is one file that loads nothing, made to be read, printed and handed on.

The format is that of the file's name, or html. An existing file is replaced.`,
		Example: `  understudy run report r1a2b3c4 --out shop-drill.html
  understudy run report r1a2b3c4 --format json | jq .rtoSeconds`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format == "" {
				format = "html"
				if filepath.Ext(file) == ".json" {
					format = "json"
				}
			}
			if format != "html" && format != "json" {
				return invalid("--format html or --format json", "report format %q is not known", format)
			}
			if file == "" && format == "html" && a.OutTTY {
				return invalid("add --out report.html", "a page is not written to a terminal")
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			data, err := api.Report(cmd.Context(), args[0], format)
			if err != nil {
				return fmt.Errorf("report on run %s: %w", args[0], err)
			}
			if file == "" || file == "-" {
				_, err = a.Out.Write(data)
				return err
			}
			if err := writeWhole(file, data); err != nil {
				return fmt.Errorf("report on run %s: %w", args[0], err)
			}
			a.Note("%s: %s", file, out.Bytes(int64(len(data))))
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "html or json")
	cmd.Flags().StringVar(&file, "out", "", "file to write (default: standard output)")
	return cmd
}

// writeWhole writes a file whole or not at all.
func writeWhole(file string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".report-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = cmp.Or(err, f.Chmod(0o644)); err != nil {
		_ = f.Close()
		return err
	}
	if err := cmp.Or(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
