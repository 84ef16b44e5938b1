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
	"understudy/internal/dr"
	"understudy/internal/notify"
)

func (a *App) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "notify", Short: "Notifications: whom to tell of what, and what was told",
		Long: `Failovers, approvals that are wanted, lag over target, drills, split brains and more are told by webhook, mail, Slack and Teams. A problem that
lasts is told again now and then, and its end is told, too. Without rules everything goes to every channel.`,
		Example: `  understudy notify add ops --kind slack --secret file:/etc/understudy/slack-url
  understudy notify test ops
  understudy notify rule add night --channel pager --severity critical
  understudy notify settings --console https://understudy.example.com
  understudy notify problems`,
	}
	cmd.AddCommand(a.notifyAddCommand(), a.notifyListCommand(), a.notifyHistoryCommand(), a.notifyProblemsCommand(), a.notifyRuleCommand(), a.notifySettingsCommand(), a.notifyDeadCommand(),
		&cobra.Command{Use: "test NAME", Short: "Send a test, and wait until it was taken", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if err := api.TestChannel(cmd.Context(), args[0]); err != nil {
					return err
				}
				a.Note("%s took it", args[0])
				return nil
			})
		}},
		&cobra.Command{Use: "remove NAME", Short: "Remove a channel, with what waits for it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error { return api.RemoveChannel(cmd.Context(), args[0]) })
		}})
	return cmd
}

func (a *App) notifyAddCommand() *cobra.Command {
	var in wire.Channel
	add := &cobra.Command{
		Use: "add NAME --kind webhook|smtp|slack|teams", Short: "Add a channel of notifications, or replace it", Args: cobra.ExactArgs(1),
		Example: `  understudy notify add hook --kind webhook --url https://chat.example/hook --secret file:/etc/understudy/hook
  understudy notify add ops --kind slack --secret file:/etc/understudy/slack-url
  understudy notify add office --kind teams --secret file:/etc/understudy/teams-url
  understudy notify add mail --kind smtp --url smtp://mail.example:587 --user understudy --secret env:SMTP_PASSWORD \
      --from understudy@example.com --to ops@example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if in.Kind == "" || in.URL == "" && in.Secret == "" {
				return usage(cmd, errors.New("--kind is needed, and --url or --secret"))
			}
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.PutChannel(cmd.Context(), in.Name, in); err != nil {
					return err
				}
				a.Note("%s: see whether it works: understudy notify test %s", in.Name, in.Name)
				return nil
			})
		},
	}
	add.Flags().StringVar(&in.Kind, "kind", "", "webhook, smtp, slack or teams")
	add.Flags().StringVar(&in.URL, "url", "", "https://HOST/PATH, smtp://HOST:587 or smtps://HOST:465")
	add.Flags().StringVar(&in.Secret, "secret", "", "env:NAME or file:PATH at the controller: signs webhooks, is the mail server's password, or the URL that Slack or Teams gave")
	add.Flags().StringVar(&in.User, "user", "", "user of the mail server")
	add.Flags().StringVar(&in.From, "from", "", "sender of mails")
	add.Flags().StringArrayVar(&in.To, "to", nil, "who gets mails; may be given again")
	return add
}

func (a *App) notifyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List whom notifications go to", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.ListChannels(cmd.Context())
				if err != nil {
					return err
				}
				return out.List(a.Printer, list, func(c wire.Channel) string { return c.Name }, "nobody is told: understudy notify add NAME --kind webhook --url URL",
					out.Col("CHANNEL", func(c wire.Channel) string { return c.Name }), out.Col("KIND", func(c wire.Channel) string { return c.Kind }),
					out.Col("URL", func(c wire.Channel) string { return c.URL }), out.Col("SECRET", func(c wire.Channel) string { return c.Secret }),
					out.Col("TO", func(c wire.Channel) string { return strings.Join(c.To, ", ") }))
			})
		},
	}
}

func (a *App) notifyHistoryCommand() *cobra.Command {
	var f client.ListNotificationsQuery
	cmd := &cobra.Command{
		Use: "history [--state waiting|sent|dead]", Short: "List the newest notifications and what became of them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				page, err := api.ListNotifications(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.printNotifications(page.Items)
			})
		},
	}
	cmd.Flags().StringVar(&f.State, "state", "", "only waiting, sent or dead ones")
	cmd.Flags().StringVar(&f.Channel, "channel", "", "only of this channel")
	cmd.Flags().StringVar(&f.Topic, "topic", "", "only about this")
	cmd.Flags().StringVar(&f.Group, "group", "", "only of this group")
	cmd.Flags().Int64Var(&f.Limit, "limit", 100, "how many")
	return cmd
}

func (a *App) printNotifications(list []wire.Notification) error {
	return out.List(a.Printer, list, func(n wire.Notification) string { return strconv.FormatInt(n.Number, 10) }, "there are none",
		out.Col("NUMBER", func(n wire.Notification) string { return strconv.FormatInt(n.Number, 10) }),
		out.Col("TIME", func(n wire.Notification) string { return out.Ago(a.Now(), n.Time) }), out.Col("CHANNEL", func(n wire.Notification) string { return n.Channel }),
		out.Col("STATE", func(n wire.Notification) string { return n.State }), out.Col("KIND", func(n wire.Notification) string { return n.Kind }),
		out.Col("SUBJECT", func(n wire.Notification) string { return n.Subject }), out.Col("PROBLEM", func(n wire.Notification) string { return n.Problem }))
}

func (a *App) notifyProblemsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "problems", Short: "List what is wrong now, the worst first, with what to do", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.ListProblems(cmd.Context())
				if err != nil {
					return err
				}
				return out.List(a.Printer, list, func(p wire.OpenProblem) string { return p.Key }, "nothing that was told is open",
					out.Col("SEVERITY", func(p wire.OpenProblem) string { return p.Severity }),
					out.Col("SINCE", func(p wire.OpenProblem) string {
						if p.Since == nil {
							return "-"
						}
						return out.Ago(a.Now(), *p.Since)
					}),
					out.Col("PROBLEM", func(p wire.OpenProblem) string { return p.Subject }), out.Col("WHAT TO DO", func(p wire.OpenProblem) string { return strings.Join(p.Next, "; ") }))
			})
		},
	}
}

func (a *App) notifyRuleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rule", Aliases: []string{"rules"}, Short: "Rules: which notifications go to which channels",
		Long: `A channel that no rule names gets everything. One that rules name gets what any of them lets through; the end of a problem goes where the
problem went.`}
	var in wire.NotificationRule
	add := &cobra.Command{
		Use: "add NAME --channel CHANNEL", Short: "Add a rule, or replace it", Args: cobra.ExactArgs(1),
		Example: `  understudy notify rule add night --channel pager --severity critical
  understudy notify rule add shop --channel shop-team --group 'shop-*' --topic failover,drill,lag`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if len(in.Channels) == 0 {
				return usage(cmd, errors.New("--channel is needed"))
			}
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.PutNotificationRule(cmd.Context(), in.Name, in); err != nil {
					return err
				}
				a.Note("%s: %s", in.Name, describeRule(in))
				return nil
			})
		},
	}
	var topics, kinds []string
	for _, t := range notify.Topics() {
		topics = append(topics, string(t))
	}
	for _, k := range notify.Kinds() {
		kinds = append(kinds, string(k))
	}
	add.Flags().StringSliceVar(&in.Channels, "channel", nil, "the channels that it is for")
	add.Flags().StringSliceVar(&in.Topics, "topic", nil, "only about these: "+strings.Join(topics, ", "))
	add.Flags().StringSliceVar(&in.Kinds, "kind", nil, "only these: "+strings.Join(kinds, ", "))
	add.Flags().StringVar(&in.Severity, "severity", "", "only this and worse: info, warning or critical")
	add.Flags().StringSliceVar(&in.Groups, "group", nil, "only of these groups; patterns such as shop-* may be given")
	add.Flags().StringSliceVar(&in.Sites, "site", nil, "only of these sites; patterns may be given")
	list := &cobra.Command{
		Use: "list", Short: "List rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.ListNotificationRules(cmd.Context())
				if err != nil {
					return err
				}
				return out.List(a.Printer, list, func(r wire.NotificationRule) string { return r.Name }, "there are no rules: everything goes to every channel",
					out.Col("RULE", func(r wire.NotificationRule) string { return r.Name }), out.Col("LETS THROUGH", describeRule))
			})
		},
	}
	cmd.AddCommand(add, list, &cobra.Command{Use: "remove NAME", Short: "Remove a rule", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.withAPI(func(api *client.Client) error { return api.RemoveNotificationRule(cmd.Context(), args[0]) })
	}})
	return cmd
}

func describeRule(r wire.NotificationRule) string {
	what := "everything"
	if len(r.Topics) > 0 {
		what = strings.Join(r.Topics, ", ")
	}
	if len(r.Kinds) > 0 {
		what += " (" + strings.Join(r.Kinds, ", ") + ")"
	}
	if r.Severity != "" {
		what += ", " + r.Severity + " and worse"
	}
	if len(r.Groups) > 0 {
		what += ", of groups " + strings.Join(r.Groups, ", ")
	}
	if len(r.Sites) > 0 {
		what += ", of sites " + strings.Join(r.Sites, ", ")
	}
	return what + ", to " + strings.Join(r.Channels, ", ")
}

func (a *App) notifySettingsCommand() *cobra.Command {
	var console, repeat string
	cmd := &cobra.Command{
		Use: "settings [--console URL] [--repeat 4h|never]", Short: "Show or set what all notifications share", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				v, err := api.ShowNotificationSettings(cmd.Context())
				if err != nil {
					return err
				}
				if cmd.Flags().Changed("console") {
					v.Console = console
				}
				if cmd.Flags().Changed("repeat") {
					v.Repeat, v.NoRepeat = 0, repeat == "never"
					if !v.NoRepeat {
						d, err := dr.ParseDuration(repeat)
						if err != nil {
							return usage(cmd, fmt.Errorf("--repeat: %w", err))
						}
						v.Repeat = wire.Duration(d)
					}
				}
				if cmd.Flags().Changed("console") || cmd.Flags().Changed("repeat") {
					if v, err = api.PutNotificationSettings(cmd.Context(), v); err != nil {
						return err
					}
				}
				if !a.Human() {
					return out.One(a.Printer, v, "notifications")
				}
				if v.Console == "" {
					a.Line("messages have no link: understudy notify settings --console URL")
				} else {
					a.Line("messages link to %s", v.Console)
				}
				if v.NoRepeat {
					a.Line("a problem that lasts is told once")
				} else {
					a.Line("a problem that lasts is told again every %s", dr.FormatDuration(time.Duration(v.Repeat)))
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&console, "console", "", "where people reach the console, such as https://understudy.example.com")
	cmd.Flags().StringVar(&repeat, "repeat", "", "time between two messages of a problem that lasts, such as 4h; never for none")
	return cmd
}

func (a *App) notifyDeadCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "Notifications that were given up"}
	// each calls fn with every notification that was given up, or with those of the numbers given.
	each := func(cmd *cobra.Command, args []string, all bool, done string, fn func(*client.Client, int64) error) error {
		if all == (len(args) > 0) {
			return usage(cmd, errors.New("give numbers, or --all"))
		}
		return a.withAPI(func(api *client.Client) error {
			var numbers []int64
			for _, arg := range args {
				n, err := strconv.ParseInt(arg, 10, 64)
				if err != nil {
					return invalid("understudy notify dead list", "%q is no number of a notification", arg)
				}
				numbers = append(numbers, n)
			}
			if all {
				list, err := api.AllNotifications(cmd.Context(), client.ListNotificationsQuery{State: "dead", Limit: 1000})
				if err != nil {
					return err
				}
				for i := len(list) - 1; i >= 0; i-- { // the oldest first
					numbers = append(numbers, list[i].Number)
				}
			}
			for _, n := range numbers {
				if err := fn(api, n); err != nil {
					return err
				}
			}
			a.Note("%d %s", len(numbers), done)
			return nil
		})
	}
	verb := func(use, short, done string, fn func(*cobra.Command, *client.Client, int64) error) *cobra.Command {
		var all bool
		c := &cobra.Command{Use: use + " [NUMBER...] [--all]", Short: short, Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd, args, all, done, func(api *client.Client, n int64) error { return fn(cmd, api, n) })
		}}
		c.Flags().BoolVar(&all, "all", false, "all of them")
		return c
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List what was given up, and why", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.AllNotifications(cmd.Context(), client.ListNotificationsQuery{State: "dead", Limit: 1000})
				if err != nil {
					return err
				}
				return a.printNotifications(list)
			})
		}},
		verb("retry", "Send again what was given up", "wait to be sent", func(cmd *cobra.Command, api *client.Client, n int64) error {
			_, err := api.RetryNotification(cmd.Context(), n)
			return err
		}),
		verb("drop", "Forget what was given up", "forgotten", func(cmd *cobra.Command, api *client.Client, n int64) error {
			return api.DropNotification(cmd.Context(), n)
		}))
	return cmd
}
