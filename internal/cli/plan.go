package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/recovery/plan"
)

func (a *App) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", Aliases: []string{"plans"}, Short: "Recovery plans: in which order machines start, and what else is done",
		Long: `A recovery plan says in which order the machines of a group start, and what is done before, between and after: scripts,
commands in machines, HTTP requests, waits, approvals, probes, extensions.

A plan is a file. Begin with one that fits the group, mend it, save it, rehearse it:
  understudy plan init shop > shop.yaml
  understudy plan validate shop.yaml
  understudy plan apply shop.yaml
  understudy plan run shop --test`,
	}
	cmd.AddCommand(a.planInitCommand(), a.planValidateCommand(), a.planApplyCommand(), a.planListCommand(), a.planShowCommand(), a.planGraphCommand(),
		a.planRunCommand(), a.planHistoryCommand(), a.planDeleteCommand())
	return cmd
}

// maxPlan bounds a plan that is read, in bytes.
const maxPlan = 1 << 20

// planText reads a plan from a file, or from standard input by the name "-".
func (a *App) planText(file string) (wire.PlanText, error) {
	in := wire.PlanText{File: file}
	var data []byte
	var err error
	if file == "-" {
		in.File = "stdin"
		data, err = io.ReadAll(io.LimitReader(a.In, maxPlan+1))
	} else {
		data, err = os.ReadFile(file)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return in, dr.WithHint(err, dr.KindNotFound, "write one: understudy plan init GROUP > "+file)
	case err != nil:
		return in, err
	case len(data) > maxPlan:
		return in, invalid("", "%s is longer than %d bytes", file, maxPlan)
	}
	in.Text = string(data)
	return in, nil
}

func (a *App) planInitCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "init GROUP", Short: "Write a plan to begin with: the group's machines in their order", Args: cobra.ExactArgs(1),
		Example: "  understudy plan init shop > shop.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			g, err := api.ShowGroup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.Out, plan.Scaffold(g.DR(), name))
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the plan's name (default: the group's)")
	return cmd
}

func (a *App) planValidateCommand() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Check a plan, with the line and column of what is wrong", Args: cobra.ExactArgs(1),
		Long: `Check a plan and hold it against the machines of its group. FILE - reads standard input.
Each fault is a line FILE:LINE:COLUMN: FIELD: WHAT on standard output; the exit code is then 2.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.planText(args[0])
			if err != nil {
				return err
			}
			var check wire.PlanCheck
			if offline {
				p, err := plan.Parse(in.File, []byte(in.Text))
				var faults *plan.Problems
				if err != nil && !errors.As(err, &faults) {
					return err
				}
				check = wire.PlanCheck{Name: p.Name, Group: p.Group, Problems: []wire.PlanProblem{}, Warnings: []string{}}
				if faults != nil {
					for _, f := range faults.List {
						check.Problems = append(check.Problems, wire.PlanProblem{Line: f.Line, Column: f.Column, Field: f.Field, What: f.What, Hint: f.Hint, Text: f.Text(in.File)})
					}
				}
			} else {
				api, err := a.client()
				if err == nil {
					check, err = api.CheckPlan(cmd.Context(), in)
				}
				if dr.KindOf(err) == dr.KindUnavailable {
					return dr.WithHint(err, dr.KindUnavailable, "without a controller: understudy plan validate --offline "+args[0])
				}
				if err != nil {
					return err
				}
			}
			return a.printCheck(in.File, check, offline)
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no controller: machines are not held against the group")
	return cmd
}

func (a *App) printCheck(file string, check wire.PlanCheck, offline bool) error {
	if !a.Human() {
		if err := out.One(a.Printer, check, check.Name); err != nil {
			return err
		}
	}
	hint := ""
	for _, p := range check.Problems {
		a.Line("%s", p.Text)
		hint = cmp.Or(hint, p.Hint)
	}
	for _, w := range check.Warnings {
		a.Note("warning: %s", w)
	}
	switch n := len(check.Problems); {
	case n == 1:
		return invalid(hint, "%s has a fault", file)
	case n > 1:
		return invalid(hint, "%s has %d faults", file, n)
	case offline:
		a.Line("%s: well-formed; whether it fits group %s is not known without the controller", file, check.Group)
	default:
		a.Line("%s: plan %s fits group %s", file, check.Name, check.Group)
		a.Note("next: understudy plan apply %s", file)
	}
	return nil
}

func (a *App) planApplyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "apply FILE", Short: "Save a plan; a change of meaning makes a new version, which needs verification", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.planText(args[0])
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			p, err := api.ApplyPlan(cmd.Context(), in)
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, p, p.Name)
			}
			what := "applied"
			if !p.Changed {
				what = "unchanged"
			}
			a.Line("plan %s version %d of group %s: %s, %s", p.Name, p.Version, p.Group, what, verification(p))
			for _, w := range p.Warnings {
				a.Note("warning: %s", w)
			}
			if p.NeedsVerification {
				a.Note("next: understudy plan run %s --test", p.Name)
			}
			return nil
		},
	}
}

func verification(p wire.Plan) string {
	switch {
	case !p.NeedsVerification && p.VerifiedAt != nil:
		return "verified " + out.Time(*p.VerifiedAt)
	case p.VerifiedVersion > 0:
		return fmt.Sprintf("needs verification (version %d was verified)", p.VerifiedVersion)
	}
	return "needs verification"
}

func verificationStyle(p wire.Plan) out.StyleName {
	if p.NeedsVerification {
		return out.Warn
	}
	return out.Good
}

func (a *App) planListCommand() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: "list [--group GROUP]", Short: "List plans, and whether a rehearsal proved them as they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListPlans(cmd.Context(), client.ListPlansQuery{Group: group})
			if err != nil {
				return err
			}
			type P = wire.Plan
			return out.List(a.Printer, list, func(p P) string { return p.Name }, "no plans yet; write one: understudy plan init GROUP",
				out.Col("NAME", func(p P) string { return p.Name }),
				out.Col("GROUP", func(p P) string { return p.Group }),
				out.Num("VERSION", func(p P) string { return fmt.Sprint(p.Version) }),
				out.Col("UPDATED", func(p P) string { return out.Time(p.Updated) }),
				out.Column[P]{Title: "STATE", Text: verification, Style: verificationStyle})
		},
	}
	cmd.Flags().StringVar(&group, "group", "", "only plans of this group")
	return cmd
}

func (a *App) planShowCommand() *cobra.Command {
	var version int64
	var text bool
	cmd := &cobra.Command{
		Use: "show NAME [--version N] [--text]", Short: "Show what a plan does, in order", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			p, err := api.ShowPlan(cmd.Context(), args[0], client.ShowPlanQuery{Version: version})
			if err != nil {
				return err
			}
			if text {
				_, err := io.WriteString(a.Out, p.Text)
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, p, p.Name)
			}
			if p.ShownVersion == p.Version {
				a.Line("version %d, %s", p.Version, a.Styled(verificationStyle(p.Plan), verification(p.Plan)))
			} else {
				a.Line("version %d, by %s; the newest is %d", p.ShownVersion, p.By, p.Version)
			}
			_, err = io.WriteString(a.Out, p.Outline)
			return err
		},
	}
	cmd.Flags().Int64Var(&version, "version", 0, "this version; by default the newest")
	cmd.Flags().BoolVar(&text, "text", false, "the YAML as it was applied")
	return cmd
}

func (a *App) planGraphCommand() *cobra.Command {
	var format string
	var version int64
	cmd := &cobra.Command{
		Use: "graph NAME|FILE [--format text|mermaid|dot]", Short: "Draw a plan: as text, or for Mermaid or Graphviz", Args: cobra.ExactArgs(1),
		Long:    "Draw a plan that was applied, or one in a file (a name with a '.' or a '/').",
		Example: "  understudy plan graph shop --format dot | dot -Tsvg > shop.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			drawn := map[string]string{}
			if strings.ContainsAny(args[0], "./"+string(filepath.Separator)) || args[0] == "-" {
				in, err := a.planText(args[0])
				if err != nil {
					return err
				}
				p, err := plan.Parse(in.File, []byte(in.Text))
				if err != nil {
					return err
				}
				drawn["text"], drawn["mermaid"], drawn["dot"] = p.Outline(), p.Mermaid(), p.Dot()
			} else {
				api, err := a.client()
				if err != nil {
					return err
				}
				p, err := api.ShowPlan(cmd.Context(), args[0], client.ShowPlanQuery{Version: version})
				if err != nil {
					return err
				}
				drawn["text"], drawn["mermaid"], drawn["dot"] = p.Outline, p.Mermaid, p.Dot
			}
			text, ok := drawn[format]
			if !ok {
				return invalid("use text, mermaid or dot", "%q is no format of a graph", format)
			}
			_, err := io.WriteString(a.Out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, mermaid or dot")
	cmd.Flags().Int64Var(&version, "version", 0, "this version; by default the newest")
	return cmd
}

func (a *App) planHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "Show the versions of a plan and the runs that carried it out", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			h, err := api.PlanHistory(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.One(a.Printer, h, args[0])
			}
			type V = wire.PlanVersion
			if err := out.List(a.Printer, h.Versions, func(v V) string { return fmt.Sprint(v.Version) }, "no versions",
				out.Num("VERSION", func(v V) string { return fmt.Sprint(v.Version) }),
				out.Col("APPLIED", func(v V) string { return out.Time(v.Created) }),
				out.Col("BY", func(v V) string { return v.By })); err != nil {
				return err
			}
			a.Line("")
			type R = wire.PlanRun
			return out.List(a.Printer, h.Runs, func(r R) string { return r.ID }, "no run of it yet",
				out.Col("RUN", func(r R) string { return r.ID }),
				out.Num("VERSION", func(r R) string { return fmt.Sprint(r.PlanVersion) }),
				out.Col("KIND", func(r R) string { return r.Kind }),
				out.Column[R]{Title: "STATE", Text: func(r R) string { return r.State }, Style: func(r R) out.StyleName { return runStyle(r.State) }},
				out.Col("ASKED FOR", func(r R) string { return out.Time(r.Requested) }),
				out.Num("TOOK", func(r R) string { return a.took(&r.Requested, r.Ended) }),
				out.Col("NOTE", func(r R) string { return runNote(r.Run) }))
		},
	}
}

func (a *App) planDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Aliases: []string{"remove"}, Short: "Remove a plan with its versions; runs under way go on with their copy", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.DeletePlan(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("removed plan %s", args[0])
			return nil
		},
	}
}
