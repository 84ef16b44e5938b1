package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"understudy/internal/replicate"
	"understudy/internal/site"
)

// unchanged measures a cycle in which nothing changed, on a running machine with a small and a large disk.
func unchanged(ctx context.Context, b *bench) error {
	sizes := []int64{4, 64}
	rigs := make([]*rig, len(sizes))
	for i, gib := range sizes {
		dir := filepath.Join(b.dir, fmt.Sprintf("u%d", gib))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		disk := filepath.Join(dir, "disk.raw")
		if err := os.WriteFile(disk, nil, 0o644); err != nil {
			return err
		}
		if err := os.Truncate(disk, gib<<30); err != nil {
			return err
		}
		if _, err := scatter(disk, 4096); err != nil {
			return err
		}
		r, err := newRig(ctx, dir, "name: m\nmemory: 64MiB\ndisks: [{name: data, path: "+disk+", format: raw}]\n")
		if err != nil {
			return err
		}
		rigs[i] = r
		if err := r.driver.Power(ctx, "m", site.PowerStart); err != nil {
			return err
		}
		defer r.stop(ctx, "m")
		if _, err := r.cycle(ctx); err != nil {
			return err
		}
	}
	const cycles = 21
	times := make([][]time.Duration, len(rigs))
	for range cycles {
		for i, r := range rigs {
			res, err := r.cycle(ctx)
			if err != nil {
				return err
			}
			if res.Kind != replicate.KindUnchanged {
				return fmt.Errorf("a cycle of an idle machine was %s: %s", res.Kind, res.Reason)
			}
			times[i] = append(times[i], res.Took)
		}
	}
	var ms []float64
	for i := range times {
		slices.Sort(times[i])
		ms = append(ms, float64(times[i][cycles/2].Microseconds())/1000)
	}
	b.add(result{"no-change cycle, 4 GiB disk", ms[0], "ms", "", 0, "under 100", ms[0] < 100})
	b.add(result{"no-change cycle, 64 GiB disk", ms[1], "ms", "4 GiB disk", ms[1] / ms[0], "under 100, within 2x", ms[1] < 100 && ms[1] <= 2*ms[0]})
	return nil
}
