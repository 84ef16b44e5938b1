package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// usage is what a finished command took.
type usage struct {
	wall   time.Duration
	cpu    time.Duration
	maxRSS int64 // bytes; of the command's own process
	out    []byte
}

// execute runs a command to its end. An exit code other than 0 is an error that shows what it printed.
func execute(ctx context.Context, env []string, name string, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began), out: out.Bytes()}
	if err != nil {
		return u, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.maxRSS = ru.Maxrss * 1024
	}
	return u, nil
}

// contender is one of the commands that a measure compares. prepare runs before each timed run.
type contender struct {
	name    string
	prepare func() error
	run     func() (usage, error)
}

// race runs the contenders in turn, several times, and returns each one's median wall time.
func (b *bench) race(contenders ...contender) (map[string]time.Duration, error) {
	times := map[string][]time.Duration{}
	for range b.runs {
		for _, c := range contenders {
			if c.prepare != nil {
				if err := c.prepare(); err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
			}
			syscall.Sync() // what the one before left to write is not this one's cost
			u, err := c.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			times[c.name] = append(times[c.name], u.wall)
			fmt.Fprintf(os.Stderr, "  %-24s %6.2f s wall %6.2f s cpu\n", c.name, u.wall.Seconds(), u.cpu.Seconds())
		}
	}
	median := map[string]time.Duration{}
	for name, list := range times {
		slices.Sort(list)
		median[name] = list[len(list)/2]
	}
	return median, nil
}

// stored is how many bytes the files below a folder hold.
func stored(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func remake(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}
