package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"understudy/test/load/fleet"
)

// smooth goes through the built console of a controller that protects 5,000 groups, in Chromium: scrolling, filtering and
// the first paint, each against the same on an empty page of the same browser.
func smooth(ctx context.Context, b *bench) (err error) {
	for _, needed := range []string{"web/dist/index.html", "web/node_modules/playwright-core/package.json"} {
		if _, err := os.Stat(needed); err != nil {
			fmt.Fprintln(os.Stderr, "bench: console: left out, since it is not built: make web")
			return nil
		}
	}
	s, err := fleet.Serve(ctx, fleet.Options{Dir: filepath.Join(b.dir, "fleet-console"), Groups: 5000, Runs: 2000, Events: 5000, Sites: 10, RPO: 10 * time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Settle(ctx); err != nil {
		return err
	}
	node := exec.CommandContext(ctx, "node", "web/test/smooth.mjs")
	node.Env = append(os.Environ(), "UNDERSTUDY_URL="+s.URL, "UNDERSTUDY_BOOTSTRAP="+s.Bootstrap)
	node.Stderr = os.Stderr
	out, err := node.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var rows []result
	if err := json.Unmarshal(out, &rows); err != nil {
		return err
	}
	for _, r := range rows {
		b.add(r)
	}
	return nil
}
