package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"understudy/test/load/fleet"
)

// apiLatency asks a controller that protects 5,000 groups for what the pages of the console show.
func apiLatency(ctx context.Context, b *bench) (err error) {
	const groups, times = 5000, 40
	s, err := fleet.Serve(ctx, fleet.Options{Dir: filepath.Join(b.dir, "fleet"), Groups: groups, Runs: 2000, Events: 5000, Sites: 10, RPO: 10 * time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Settle(ctx); err != nil {
		return err
	}
	for _, c := range fleet.Calls() {
		p95, _, err := s.Measure(ctx, c.Path, times)
		if err != nil {
			return err
		}
		b.add(result{"api, 5,000 groups: " + c.Name, float64(p95.Milliseconds()), "ms, p95", "", 0, fmt.Sprintf("under %d", c.Limit.Milliseconds()), p95 < c.Limit})
	}
	return nil
}
