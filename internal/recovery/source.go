package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
)

// sources are what copies under way read from, by run: one instant of all disks of a machine, which all copies of a run
// share as long as this process lives.
type sources struct {
	o Options

	mu   sync.Mutex
	open map[string]*source
}

// source is one instant of a machine.
type source struct {
	opening sync.Mutex // held while it is opened or closed; guards what follows

	instant instant
	disks   map[string]nbd.Device
	machine dr.Machine
	broken  bool
	end     func(context.Context) error // nil when it is not open
	verify  func() error                // says after reading whether what was read is of one instant
}

// An instant identifies what was copied: of a machine that runs each capture is another one, a recovery point is always
// the same.
type instant struct {
	ID string `json:"id"`
	// Sequence rises with every capture of a run, whatever the clock does.
	Sequence    int            `json:"sequence"`
	Time        time.Time      `json:"time"`
	Consistency dr.Consistency `json:"consistency"`
	// Paused is how long the guest stood still for it.
	Paused time.Duration `json:"paused,omitempty"`
}

func (x *sources) of(run string) *source {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.open[run]
	if s == nil {
		s = &source{}
		x.open[run] = s
	}
	return s
}

// acquire returns a run's source, opened when it is not or when it broke.
func (x *sources) acquire(ctx context.Context, p Input) (*source, error) {
	s := x.of(p.Run)
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.end != nil && !s.broken {
		return s, nil
	}
	if err := s.close(ctx); err != nil {
		x.o.Logger.Warn("end capture", "run", p.Run, "error", err)
	}
	open := x.capture
	if p.Clone.Group != "" {
		open = x.point
	}
	if err := open(ctx, p, s); err != nil {
		return nil, err
	}
	s.broken = false
	return s, nil
}

// spoiled says that an instant cannot be read any more: the next to need one gets another.
func (x *sources) spoiled(p Input, at instant) {
	s := x.of(p.Run)
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.instant.ID == at.ID {
		s.broken = true
	}
}

// release ends the reading of a run's source.
func (x *sources) release(ctx context.Context, run string) error {
	s := x.of(run)
	s.opening.Lock()
	defer s.opening.Unlock()
	x.mu.Lock()
	delete(x.open, run)
	x.mu.Unlock()
	return s.close(ctx)
}

func (s *source) close(ctx context.Context) error {
	if s.end == nil {
		return nil
	}
	err := s.end(context.WithoutCancel(ctx))
	s.end, s.disks = nil, nil
	return err
}

// captureGroup is the name under which a run's captures are known to the site.
func (c *CloneSpec) captureGroup() string { return "clone-" + c.Origin }

// captureBusy is how long another capture of the machine is waited for.
const captureBusy = 2 * time.Minute

// capture freezes an instant of a machine.
func (x *sources) capture(ctx context.Context, p Input, s *source) error {
	c := p.Clone
	d, err := x.o.Sites(ctx, c.Site)
	if err != nil {
		return err
	}
	sequence, err := x.next(c.Origin)
	if err != nil {
		return err
	}
	req := site.CaptureRequest{Group: c.captureGroup(), Machines: []string{c.Machine}, ID: fmt.Sprintf("%s-%d", c.Origin, sequence),
		Freeze: c.Agent, FreezeTimeout: dr.DefaultFreezeTimeout}
	var held site.Capture
	for delay, began := 100*time.Millisecond, time.Now(); ; delay = min(2*delay, 2*time.Second) {
		held, err = d.Capture(ctx, req)
		// A cycle of the machine's group, or another clone, is in the way for a while.
		if err == nil || dr.KindOf(err) != dr.KindConflict || time.Since(began) > captureBusy {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay):
		}
	}
	if err != nil {
		return fmt.Errorf("capture %s at %s: %w", c.Machine, c.Site, err)
	}
	disks := map[string]nbd.Device{}
	for _, v := range held.Disks() {
		changes, err := v.Changes(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("look at disk %s: %w", v.ID(), err), held.Abort(context.WithoutCancel(ctx)))
		}
		disks[v.ID().Disk] = capturedDevice{v, changes.Extents}
	}
	s.instant = instant{ID: req.ID, Sequence: sequence, Time: held.Time(), Consistency: held.Consistency(), Paused: held.Paused()}
	s.disks, s.machine = disks, held.Machines()[0]
	// It was taken for this copy only: no changes are tracked since.
	s.end, s.verify = held.Abort, func() error { return nil }
	if v, ok := held.(site.Verifier); ok {
		s.verify = v.Verify
	}
	return nil
}

// next counts the captures for an origin, in a file: the clock may be set back.
func (x *sources) next(origin string) (int, error) {
	file := filepath.Join(x.o.copyDir(origin), "captures")
	n := 0
	data, err := os.ReadFile(file)
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("count captures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return 0, err
	}
	if err := os.WriteFile(file+".new", fmt.Appendln(nil, n+1), 0o600); err != nil {
		return 0, fmt.Errorf("count captures: %w", err)
	}
	return n + 1, os.Rename(file+".new", file)
}

// point opens a recovery point.
func (x *sources) point(ctx context.Context, p Input, s *source) error {
	c := p.Clone
	v, err := x.o.Vaults(ctx, c.Vault)
	if err != nil {
		return err
	}
	point, err := v.OpenPoint(ctx, c.Group, c.Point)
	if err != nil {
		return err
	}
	m, err := machineOf(point.Machines(), c)
	disks := map[string]nbd.Device{}
	for _, d := range m.Disks {
		if err == nil {
			disks[d.Name], err = point.Disk(dr.DiskID{Machine: m.Name, Disk: d.Name})
		}
	}
	if err != nil {
		return errors.Join(err, point.Close())
	}
	info := point.Info()
	s.instant = instant{ID: info.ID, Time: info.Time, Consistency: info.Kind}
	s.disks, s.machine = disks, m
	s.end, s.verify = func(context.Context) error { return point.Close() }, func() error { return nil }
	return nil
}

func machineOf(list []dr.Machine, c *CloneSpec) (dr.Machine, error) {
	var names []string
	for _, m := range list {
		if m.Name == c.Machine {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return dr.Machine{}, dr.WithHint(fmt.Errorf("%s has no machine %s", c.from(), c.Machine), dr.KindNotFound, "machines there: "+strings.Join(names, ", "))
}

// copyDir is where the journals of copies for an origin lie.
func (o Options) copyDir(origin string) string { return filepath.Join(o.copiesDir(), origin) }

func (o Options) copiesDir() string { return filepath.Join(filepath.Dir(o.EnginePath), "copies") }
