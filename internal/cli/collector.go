package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

func (a *App) collectorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "collector", Short: "A site's collector of heartbeats, where it has no monitoring service of its own",
		Long: `A small monitoring service for one site. It takes heartbeats from agents that it registered and associated with a rule, and from
no others. The controller administers it: see understudy extension collector. Its folder holds its state, its administrator's
token in the file ` + collector.TokenFile + `, and its URL in the file ` + collector.URLFile + ` while it runs.`}
	rule := &cobra.Command{Use: "rule", Aliases: []string{"rules"}, Short: "Data-collection rules: what agents collect, and how often"}
	rule.AddCommand(a.ruleSetCommand(), a.ruleListCommand(), a.ruleRemoveCommand())
	cmd.AddCommand(a.collectorServeCommand(), a.collectorListCommand(), rule)
	return cmd
}

func (a *App) collectorServeCommand() *cobra.Command {
	var dir, listen string
	cmd := &cobra.Command{
		Use: "serve --dir DIR [--listen HOST:PORT]", Short: "Run the collector of a site", Args: cobra.NoArgs,
		Long: `Run the collector of a site until it is stopped. It has no encryption: keep it on the loopback address and let guests reach it
through a service of the site, or put a proxy with TLS before it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf(cmd, true, "dir"); err != nil {
				return err
			}
			level := slog.LevelInfo
			if a.verbose {
				level = slog.LevelDebug
			}
			return a.serveCollector(cmd.Context(), dir, listen, slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level})))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the collector's folder; made when missing")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9100", "where it listens; port 0 takes a free one")
	return cmd
}

func (a *App) serveCollector(ctx context.Context, dir, listen string, log *slog.Logger) (err error) {
	c, err := collector.Open(collector.Config{Dir: dir, Now: a.Now, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return dr.WithHint(fmt.Errorf("serve the collector: %w", err), dr.KindUnavailable, "choose another address with --listen, such as 127.0.0.1:0")
	}
	server := &http.Server{Handler: c.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	url := "http://" + listener.Addr().String()
	urlFile := filepath.Join(dir, collector.URLFile)
	if err := os.WriteFile(urlFile, []byte(url+"\n"), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write the collector's URL: %w", err), server.Close())
	}
	defer os.Remove(urlFile) // it is only where to look
	log.Info("collecting", "url", url, "dir", dir, "token", filepath.Join(dir, collector.TokenFile))
	a.OnInterrupt("stopping; agents go on trying")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	saved := make(chan struct{})
	go func() { defer close(saved); c.Run(ctx) }()
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve the collector: %w", err)
	}
	cancel()
	<-saved
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if serr := server.Shutdown(end); serr != nil {
		err = errors.Join(err, server.Close())
	}
	return err
}

// collectorFlags say which collector is meant.
type collectorFlags struct{ dir, url, token string }

func (f *collectorFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "the collector's folder, on this machine")
	cmd.Flags().StringVar(&f.url, "url", "", "the collector's URL (default: as written in its folder)")
	cmd.Flags().StringVar(&f.token, "collector-token-file", "", "file with its administrator's token (default: in its folder)")
}

func (f collectorFlags) client() (*collector.Client, error) {
	url, token := f.url, f.token
	if f.dir == "" && (url == "" || token == "") {
		return nil, invalid("--dir DIR, or --url URL --collector-token-file FILE", "which collector?")
	}
	if url == "" {
		data, err := os.ReadFile(filepath.Join(f.dir, collector.URLFile))
		if err != nil {
			return nil, dr.WithHint(fmt.Errorf("no collector runs on %s: %w", f.dir, err), dr.KindUnavailable, "understudy collector serve --dir "+f.dir)
		}
		url = strings.TrimSpace(string(data))
	}
	if token == "" {
		token = filepath.Join(f.dir, collector.TokenFile)
	}
	return collector.NewClient(url, func() (string, error) {
		data, err := os.ReadFile(token)
		return strings.TrimSpace(string(data)), err
	}), nil
}

func (a *App) collectorListCommand() *cobra.Command {
	var f collectorFlags
	// row is a registration, or an agent that is refused.
	type row struct {
		collector.Registration
		Refused *collector.Refusal `json:"refused,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "list --dir DIR", Short: "List the agents that a collector knows, and those that it refuses", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			all, err := c.Registrations(cmd.Context())
			if err != nil {
				return err
			}
			var rows []row
			for _, r := range all.Registrations {
				rows = append(rows, row{Registration: r})
			}
			for _, r := range all.Refused {
				rows = append(rows, row{Registration: collector.Registration{Machine: r.Machine, Extension: r.Extension}, Refused: &r})
			}
			return out.List(a.Printer, rows, func(r row) string { return r.Machine + "/" + r.Extension }, "no agents",
				out.Col("MACHINE", func(r row) string { return r.Machine }),
				out.Col("EXTENSION", func(r row) string { return r.Extension }),
				out.Col("RULES", func(r row) string {
					var rules []string
					for _, as := range r.Associations {
						rules = append(rules, as.Rule)
					}
					return strings.Join(rules, ", ")
				}),
				out.Col("HEARTBEAT", func(r row) string {
					if r.Heartbeat == nil {
						return "never"
					}
					return out.Ago(all.Now, r.Heartbeat.Received)
				}),
				out.Col("NOTE", func(r row) string {
					if r.Refused == nil {
						return ""
					}
					return fmt.Sprintf("refused %d times, %s: %s", r.Refused.Count, out.Ago(all.Now, r.Refused.Last), r.Refused.Reason)
				}))
		},
	}
	f.add(cmd)
	return cmd
}

func (a *App) ruleSetCommand() *cobra.Command {
	var f collectorFlags
	var every string
	var metrics []string
	cmd := &cobra.Command{
		Use: "set RULE --dir DIR [--every 60s] [--metric NAME]...", Short: "Add a rule, or change it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := dr.ParseDuration(every)
			if err != nil {
				return fmt.Errorf("--every: %w", err)
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			r := collector.Rule{Name: args[0], Seconds: d.Seconds(), Metrics: metrics}
			if err := c.PutRule(cmd.Context(), r); err != nil {
				return err
			}
			return out.One(a.Printer, r, r.Name, out.Field{Title: "Rule", Text: r.Name}, out.Field{Title: "Every", Text: out.Seconds(r.Seconds)},
				out.Field{Title: "Metrics", Text: strings.Join(r.Metrics, ", ")})
		},
	}
	cmd.Flags().StringVar(&every, "every", "60s", "how often agents send")
	cmd.Flags().StringArrayVar(&metrics, "metric", nil, "what they collect (default: all they have)")
	f.add(cmd)
	return cmd
}

func (a *App) ruleListCommand() *cobra.Command {
	var f collectorFlags
	cmd := &cobra.Command{
		Use: "list --dir DIR", Short: "List rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			list, err := c.Rules(cmd.Context())
			if err != nil {
				return err
			}
			type R = collector.Rule
			return out.List(a.Printer, list, func(r R) string { return r.Name }, "no rules yet: understudy collector rule set RULE --dir DIR",
				out.Col("RULE", func(r R) string { return r.Name }),
				out.Num("EVERY", func(r R) string { return out.Seconds(r.Seconds) }),
				out.Col("METRICS", func(r R) string { return strings.Join(r.Metrics, ", ") }))
		},
	}
	f.add(cmd)
	return cmd
}

func (a *App) ruleRemoveCommand() *cobra.Command {
	var f collectorFlags
	cmd := &cobra.Command{
		Use: "remove RULE --dir DIR", Short: "Remove a rule that no agent is associated with", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			if err := c.DeleteRule(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("removed rule %s", args[0])
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
