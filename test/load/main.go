// Command load runs a controller that protects thousands of machines which exist in memory only, for trying pages and the
// API at scale, and serves the console. With -measure it prints how long the API takes and ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"understudy/test/load/fleet"
)

func main() {
	o := fleet.Options{Sites: 10, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	flag.IntVar(&o.Groups, "groups", 5000, "groups of one machine each")
	flag.IntVar(&o.Runs, "runs", 2000, "runs that have ended")
	flag.IntVar(&o.Events, "events", 5000, "events on record")
	flag.DurationVar(&o.RPO, "rpo", 10*time.Minute, "the shortest objective")
	flag.StringVar(&o.Dir, "dir", "", "data folder (default: one that is removed at the end)")
	listen := flag.String("listen", "127.0.0.1:7711", "where the API listens")
	measure := flag.Bool("measure", false, "measure and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, *listen, *measure); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o fleet.Options, listen string, measure bool) error {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "understudy-load-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	began := time.Now()
	s, err := fleet.Serve(ctx, o, listen)
	if err != nil {
		return err
	}
	fmt.Printf("%d groups after %s\n%s\ntoken %s\none-time token %s\n", o.Groups, time.Since(began).Round(time.Millisecond), s.URL, s.Token, s.Bootstrap)
	if !measure {
		<-ctx.Done()
		return s.Close()
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	fmt.Printf("all have a recovery point after %s\n", time.Since(began).Round(time.Second))
	for _, c := range fleet.Calls() {
		p95, size, err := s.Measure(ctx, c.Path, 40)
		if err != nil {
			return err
		}
		fmt.Printf("%-22s p95 %8s of %6s  %8d bytes\n", c.Name, p95.Round(100*time.Microsecond), c.Limit, size)
	}
	return s.Close()
}
