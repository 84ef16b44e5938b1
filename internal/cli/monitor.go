package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
)

func (a *App) monitorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "monitor", Aliases: []string{"monitors"}, Short: "Monitors: long operations of sites, such as updates, told when they change",
		Long: `A monitor looks at the long operations of a site, such as the updates of an Azure Stack Hub, and notifies of each change once: success
included. That the site does not answer is told, too, and when it answers again.`,
		Example: `  understudy monitor add stack --site stack-admin --every 1m
  understudy notify add ops --kind webhook --url https://chat.example/hook --secret file:/etc/understudy/hook
  understudy monitor show stack`,
	}
	var in wire.MonitorRequest
	var every time.Duration
	add := &cobra.Command{
		Use: "add NAME --site SITE [--every 1m] [--patience 3]", Short: "Watch the long operations of a site", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Site == "" {
				return usage(cmd, errors.New("--site is needed"))
			}
			in.Every = wire.Duration(every)
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.AddMonitor(cmd.Context(), args[0], in); err != nil {
					return err
				}
				a.Note("%s: looks at %s every %s; what it finds first is no news", args[0], in.Site, every)
				return nil
			})
		},
	}
	add.Flags().StringVar(&in.Site, "site", "", "the site")
	add.Flags().DurationVar(&every, "every", time.Minute, "time between two looks")
	add.Flags().IntVar(&in.Patience, "patience", 3, "looks in a row that may fail before that is told")
	cmd.AddCommand(add, a.monitorListCommand(), a.monitorShowCommand(),
		&cobra.Command{Use: "test NAME", Short: "Look now, without any consequence", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				l, err := api.TestMonitor(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if !a.Human() {
					return out.One(a.Printer, l, args[0])
				}
				a.Line("the %s answers", l.Way)
				if l.Problem != "" {
					a.Line("%s", a.Styled(out.Bad, "it tells of what goes on only, since: "+l.Problem))
				}
				return a.printOperations(l.Operations)
			})
		}},
		&cobra.Command{Use: "remove NAME", Short: "Watch no longer", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error { return api.RemoveMonitor(cmd.Context(), args[0]) })
		}})
	return cmd
}

// withAPI calls fn with the controller's API.
func (a *App) withAPI(fn func(*client.Client) error) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	return fn(api)
}

func (a *App) monitorListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List monitors and whether their sites answer", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.ListMonitors(cmd.Context())
				if err != nil {
					return err
				}
				return out.List(a.Printer, list, func(m wire.Monitor) string { return m.Name }, "nothing is monitored: understudy monitor add NAME --site SITE",
					out.Col("MONITOR", func(m wire.Monitor) string { return m.Name }), out.Col("SITE", func(m wire.Monitor) string { return m.Site }),
					out.Col("EVERY", func(m wire.Monitor) string { return time.Duration(m.Every).String() }),
					out.Col("LAST ANSWER", a.lastAnswer), out.Col("RUNNING", func(m wire.Monitor) string { return count(m, "running") }),
					out.Col("FAILED", func(m wire.Monitor) string { return count(m, "failed") }),
					out.Col("PROBLEM", func(m wire.Monitor) string { return m.Problem }))
			})
		},
	}
}

func (a *App) lastAnswer(m wire.Monitor) string {
	if m.Looked == nil {
		return "never"
	}
	return out.Ago(a.Now(), *m.Looked)
}

func count(m wire.Monitor, outcome string) string {
	n := 0
	for _, o := range m.Operations {
		if o.Outcome == outcome && !o.Summary {
			n++
		}
	}
	return strconv.Itoa(n)
}

func (a *App) monitorShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show the operations that a monitor last saw", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				m, err := api.ShowMonitor(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if !a.Human() {
					return out.One(a.Printer, m, m.Name)
				}
				a.Line("%s looks at %s every %s; last answer: %s", m.Name, m.Site, time.Duration(m.Every), a.lastAnswer(m))
				if m.Way != "" {
					a.Line("at the last look the %s answered", m.Way)
				}
				if m.Problem != "" {
					a.Line("%s", a.Styled(out.Bad, fmt.Sprintf("%d looks in a row failed: %s", m.Failures, m.Problem)))
				}
				return a.printOperations(m.Operations)
			})
		},
	}
}

// printOperations prints operations, and then the steps of those that have some.
func (a *App) printOperations(list []wire.Operation) error {
	err := out.List(a.Printer, list, func(o wire.Operation) string { return o.ID }, "there is nothing",
		out.Col("OPERATION", func(o wire.Operation) string { return o.Title }), out.Col("VERSION", func(o wire.Operation) string { return o.Version }),
		out.Col("STATE", func(o wire.Operation) string { return o.State }),
		out.Col("TOOK", func(o wire.Operation) string {
			if o.DurationSeconds == 0 {
				return "-"
			}
			return (time.Duration(o.DurationSeconds * float64(time.Second))).Round(time.Second).String()
		}),
		out.Col("STEP", func(o wire.Operation) string { return o.Step }), out.Col("MESSAGE", func(o wire.Operation) string { return o.Message }))
	for _, o := range list {
		if len(o.Steps) > 0 {
			a.Line("")
			a.Line("%s, %s", o.Title, o.State)
			a.printSteps(o.Steps, "  ")
		}
	}
	return err
}

// printSteps prints a tree, each level further to the right.
func (a *App) printSteps(steps []wire.OperationStep, indent string) {
	for _, s := range steps {
		line := indent + s.Name + "  " + s.Status
		if s.Started != nil && s.Ended != nil {
			line += "  " + s.Ended.Sub(*s.Started).Round(time.Second).String()
		}
		a.Line("%s", line)
		for text := range strings.Lines(s.Message) {
			a.Line("%s", indent+"    "+a.Styled(out.Bad, strings.TrimSpace(text)))
		}
		a.printSteps(s.Steps, indent+"  ")
	}
}
