package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

const (
	// pauseLimit bounds how long guests are kept still for a capture; one that needs longer is given up.
	pauseLimit = 10 * time.Second
	// contLimit bounds the attempt to make a guest go on.
	contLimit = 10 * time.Second
	// cleanLimit bounds the clean-up after a failed capture, which goes on when the caller's context has ended.
	cleanLimit = 20 * time.Second
)

// captures are the captures of a Driver that nobody has ended yet, by machine.
type captures struct {
	mu   sync.Mutex
	open map[string]*capture
}

// capture is one instant of the machines of a group.
type capture struct {
	d     *Driver
	req   site.CaptureRequest
	parts []part // ordered by machine

	time   time.Time
	paused time.Duration
	kind   dr.Consistency
	short  error // why kind is less than was asked for

	ending sync.Mutex // held while it is ended
	ended  string     // "committed" or "aborted"
	broken error      // why a capture that had nothing to read cannot be read
}

// part is one machine of a capture: live while it runs, still otherwise.
type part interface {
	// prepare looks at the disks and what tracking tells of them, while the guest runs. After it clean reports whether
	// the disks are still as they were at Since, unless they were written to since prepare began.
	prepare(ctx context.Context) error
	clean() bool
	// build does what else can be done while the guest runs, for an instant to be made.
	build(ctx context.Context) error
	// stop stops the guest, mark makes the instant, cont makes sure that the guest goes on.
	stop(ctx context.Context) error
	mark(ctx context.Context) error
	cont(ctx context.Context) error
	paused() time.Duration
	// open makes the views readable.
	open(ctx context.Context) error

	machine() dr.Machine
	views() []site.CapturedDisk

	// commit and abort end the capture; both may be repeated after an error.
	commit(ctx context.Context) error
	abort(ctx context.Context) error
	// release gives up the machine's lock.
	release()
}

// Capture freezes one instant of all disks of the machines. All running guests of the request stand still for the few
// milliseconds in which their change tracking is turned over and their disks get a copy-before-write filter, so that
// the instant is one for all disks of all machines. When nothing was written since the request's Since, none of this is
// done: the capture is of the state of Since, and the guests do not notice it.
func (d *Driver) Capture(ctx context.Context, req site.CaptureRequest) (site.Capture, error) {
	c, err := d.capture(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", req.Group, err)
	}
	return c, nil
}

func (d *Driver) capture(ctx context.Context, req site.CaptureRequest) (_ *capture, err error) {
	names := slices.Compact(slices.Sorted(slices.Values(req.Machines)))
	if len(names) == 0 || req.ID == "" || len(req.ID) > 40 || req.ID == req.Since {
		return nil, dr.WithHint(errors.New("no machines, or no new capture ID"), dr.KindInvalid, "name the group's machines and a new capture ID of at most 40 bytes")
	}
	c := &capture{d: d, req: req, kind: dr.CrashConsistent}
	var machines []*machine
	for _, name := range names {
		m, err := d.machine(name)
		if err != nil {
			return nil, err
		}
		machines = append(machines, m)
	}
	if err := d.captures.claim(ctx, c, names); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.captures.release(c)
		}
	}()
	// In the order of names, so that two captures of overlapping groups cannot wait for each other.
	for _, m := range machines {
		unlock, err := m.lock(ctx)
		if err == nil {
			if err = m.load(); err != nil { // a layer may have come or gone
				unlock()
			}
		}
		if err != nil {
			c.release()
			return nil, err
		}
		if m.running() {
			c.parts = append(c.parts, &live{c: c, m: m, req: req, unlock: unlock})
		} else {
			c.parts = append(c.parts, &still{m: m, req: req, unlock: unlock})
		}
	}
	if err := c.take(ctx); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
		defer cancel()
		if e := c.each(func(p part) error { return p.abort(clean) }); e != nil {
			d.log.Warn("clean-up after a failed capture, left to the next one", "group", req.Group, "error", e)
		}
		c.release()
		return nil, err
	}
	for _, p := range c.parts {
		if l, ok := p.(*live); ok {
			l.release()
		}
	}
	return c, nil
}

func (c *capture) take(ctx context.Context) error {
	// A write that ended before this moment is seen by every question asked after it. So when all answers are that
	// nothing was written, all disks were as at Since at this one moment, whenever each answer came.
	began := time.Now()
	if err := c.each(func(p part) error { return p.prepare(ctx) }); err != nil {
		return err
	}
	// Freezing makes guests write what they hold in memory.
	if !c.req.Freeze && !slices.ContainsFunc(c.parts, func(p part) bool { return !p.clean() }) {
		c.time = began
		return c.each(func(p part) error { return p.open(ctx) })
	}
	return c.full(ctx)
}

// full stops the guests for the instant and makes the disks readable as they are then.
func (c *capture) full(ctx context.Context) error {
	if err := c.each(func(p part) error { return p.build(ctx) }); err != nil {
		return err
	}
	if err := c.instant(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return c.each(func(p part) error { return p.open(ctx) })
}

// instant makes the instant. From the first guest that is told to stop, nothing waits for the caller any more: a dying
// context must not leave a guest standing still.
func (c *capture) instant(ctx context.Context) error {
	held := context.WithoutCancel(ctx)
	var quiet *silence
	if c.req.Freeze {
		quiet = c.silence(ctx)
	}
	err := func() error {
		limited, cancel := context.WithTimeout(held, pauseLimit)
		defer cancel()
		if err := c.each(func(p part) error { return p.stop(limited) }); err != nil {
			return err
		}
		c.time = time.Now()
		return c.each(func(p part) error { return p.mark(limited) })
	}()
	quiet.made()
	limited, cancel := context.WithTimeout(held, contLimit)
	defer cancel()
	cont := c.each(func(p part) error { return p.cont(limited) })
	quiet.end(held, cont == nil)
	err = errors.Join(err, cont)
	for _, p := range c.parts {
		c.paused = max(c.paused, p.paused())
	}
	return err
}

// each runs f for all parts at once and joins what failed.
func (c *capture) each(f func(part) error) error {
	errs := make([]error, len(c.parts))
	if len(c.parts) == 1 {
		return f(c.parts[0])
	}
	var wg sync.WaitGroup
	for i, p := range c.parts {
		wg.Go(func() { errs[i] = f(p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *capture) release() {
	for _, p := range c.parts {
		p.release()
	}
}

// claim makes c the one capture of its machines. An older one of the same group is given up: its caller is gone or has
// lost the group's lease. One of another group is in the way.
func (k *captures) claim(ctx context.Context, c *capture, names []string) error {
	for {
		k.mu.Lock()
		var old *capture
		for _, name := range names {
			if o := k.open[name]; o != nil {
				old = o
			}
		}
		if old == nil {
			if k.open == nil {
				k.open = map[string]*capture{}
			}
			for _, name := range names {
				k.open[name] = c
			}
			k.mu.Unlock()
			return nil
		}
		k.mu.Unlock()
		if old.req.Group != c.req.Group {
			return dr.WithHint(fmt.Errorf("capture %s of group %s is under way on one of its machines", old.req.ID, old.req.Group),
				dr.KindConflict, "put a machine into one group only, or wait")
		}
		if err := old.giveUp(ctx); err != nil && k.holds(old) {
			return fmt.Errorf("give up capture %s: %w", old.req.ID, err)
		}
	}
}

func (k *captures) holds(c *capture) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range k.open {
		if o == c {
			return true
		}
	}
	return false
}

func (k *captures) release(c *capture) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, o := range k.open {
		if o == c {
			delete(k.open, name)
		}
	}
}

func (c *capture) Time() time.Time             { return c.time }
func (c *capture) Paused() time.Duration       { return c.paused }
func (c *capture) Consistency() dr.Consistency { return c.kind }
func (c *capture) Shortfall() error            { return c.short }

func (c *capture) Machines() []dr.Machine {
	var list []dr.Machine
	for _, p := range c.parts {
		list = append(list, p.machine())
	}
	return list
}

func (c *capture) Disks() []site.CapturedDisk {
	var list []site.CapturedDisk
	for _, p := range c.parts {
		list = append(list, p.views()...)
	}
	slices.SortFunc(list, func(a, b site.CapturedDisk) int { return a.ID().Compare(b.ID()) })
	return list
}

func (c *capture) Commit(ctx context.Context) error { return c.end(ctx, "committed") }
func (c *capture) Abort(ctx context.Context) error  { return c.end(ctx, "aborted") }

// giveUp ends the capture as its caller began to, or aborts it.
func (c *capture) giveUp(ctx context.Context) error {
	c.ending.Lock()
	outcome := cmp.Or(c.ended, "aborted")
	c.ending.Unlock()
	return c.end(ctx, outcome)
}

// end ends the capture. After an error it may be repeated with the same outcome.
func (c *capture) end(ctx context.Context, outcome string) error {
	c.ending.Lock()
	defer c.ending.Unlock()
	if c.ended != "" && c.ended != outcome {
		return dr.WithHint(fmt.Errorf("capture %s of group %s is already %s", c.req.ID, c.req.Group, c.ended), dr.KindConflict, "capture again")
	}
	if c.ended != "" && !c.d.captures.holds(c) {
		return nil
	}
	c.ended = outcome
	err := c.each(func(p part) error {
		if outcome == "committed" {
			return p.commit(ctx)
		}
		return p.abort(ctx)
	})
	if err != nil {
		return fmt.Errorf("capture %s of group %s: %w", c.req.ID, c.req.Group, err)
	}
	c.release()
	c.d.captures.release(c)
	return nil
}
