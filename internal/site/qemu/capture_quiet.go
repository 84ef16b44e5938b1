package qemu

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"understudy/internal/dr"
)

// Guests are made quiet for a consistent instant in this order: hooks before, file systems frozen, the instant, thawed,
// hooks after. Three things keep a guest from staying frozen: a timer here that thaws when the freeze takes longer than
// it may; a note of what was done, by which the next capture or the next controller undoes it; and in the guest, where
// its agent runs programs, a process that thaws when nobody called it off.

const (
	// hookLimit bounds a hook in a guest.
	hookLimit = 30 * time.Second
	// armLimit bounds the start of the dead man's switch in a guest.
	armLimit = 5 * time.Second
	// deadManGrace is how much longer than the freeze may take the guest waits until it thaws by itself.
	deadManGrace = 5 * time.Second
)

// quietNote remembers in a file what was done to a guest to make it quiet.
type quietNote struct {
	Group      string   `json:"group"`
	ID         string   `json:"id"`
	Generation uint64   `json:"generation"`       // the life of QEMU that it is about: a guest that started anew is not frozen
	Frozen     bool     `json:"frozen,omitempty"` // or about to be
	After      []string `json:"after,omitempty"`  // the hook that is still to run
	Flag       string   `json:"flag,omitempty"`   // in the guest: its dead man's switch is armed while it exists
}

func (m *machine) quietPath() string { return filepath.Join(m.dir(), "quiet.json") }

func (m *machine) writeQuiet(n quietNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return err
	}
	path := m.quietPath()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (m *machine) forgetQuiet() error {
	if err := os.Remove(m.quietPath()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// rouse undoes what a capture that was not ended properly did to make the guest quiet. The caller holds the machine's
// lock. What cannot be undone now stays noted.
func (m *machine) rouse(ctx context.Context) error {
	b, err := os.ReadFile(m.quietPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var n quietNote
	if err := json.Unmarshal(b, &n); err != nil || n.Generation != m.generation() {
		return m.forgetQuiet()
	}
	m.d.log.Warn("a capture ended while the guest was quiet, it goes on", "machine", m.name, "group", n.Group, "frozen", n.Frozen)
	q := &quiet{m: m, note: n, noted: true}
	defer q.hangUp()
	if _, err := q.thaw(ctx); err != nil {
		return fmt.Errorf("thaw file systems: %w", err)
	}
	return q.after(ctx)
}

// rouseSoon is rouse for a capture, which does not wait for long for what a dead agent will never do.
func (m *machine) rouseSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, contLimit)
	defer cancel()
	if err := m.rouse(ctx); err != nil {
		m.d.log.Error("guest may still be quiet for an earlier capture", "machine", m.name, "error", err)
	}
}

// quiet is one guest that is made quiet.
type quiet struct {
	m     *machine
	hooks dr.Hooks
	noted bool // it was made quiet earlier: it has an agent, whatever its definition says, or if none was read yet

	mu     sync.Mutex // the timer may thaw at any time
	note   quietNote
	agent  *Agent
	frozen int  // file systems
	early  bool // they were thawed before they should have been, by the timer or by somebody else
}

// call returns the connection to the agent, which is kept: making one takes a while in which the guest would be frozen.
func (q *quiet) call(ctx context.Context) (*Agent, error) {
	if q.agent != nil {
		return q.agent, nil
	}
	var err error
	if q.noted {
		q.agent, err = dialAgent(ctx, q.m.d.socket(q.m.name, "agent"), q.m.name)
	} else {
		q.agent, err = q.m.agent(ctx)
	}
	return q.agent, err
}

func (q *quiet) hangUp() {
	if q.agent != nil {
		_ = q.agent.Close() // what it was told is done or noted
		q.agent = nil
	}
}

// ready ends a freeze that nobody ended, as the agent sees it: while it believes in one it runs nothing.
func (q *quiet) ready(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	a, err := q.call(ctx)
	if err != nil {
		return err
	}
	frozen, err := a.Frozen(ctx)
	if err == nil && frozen {
		err = a.Thaw(ctx)
	}
	if err != nil {
		q.refused(err)
	}
	return err
}

// before runs the hook that prepares the guest's applications.
func (q *quiet) before(ctx context.Context) error {
	if len(q.hooks.Before) == 0 && len(q.hooks.After) == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.note.After = q.hooks.After
	if err := q.m.writeQuiet(q.note); err != nil {
		return err
	}
	if len(q.hooks.Before) == 0 {
		return nil
	}
	return q.run(ctx, "before", q.hooks.Before)
}

// run runs a hook. The lock is held.
func (q *quiet) run(ctx context.Context, which string, argv []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hookLimit, fmt.Errorf("it did not end within %s", hookLimit))
	defer cancel()
	a, err := q.call(ctx)
	if err != nil {
		return err
	}
	res, err := a.Exec(ctx, argv, nil)
	if err != nil {
		q.refused(err)
		return fmt.Errorf("hook %s freezing: %w", which, err)
	}
	if res.ExitCode != 0 || res.Signal != 0 {
		said := bytes.TrimSpace(slices.Concat(res.Stdout, res.Stderr))
		said = said[max(0, len(said)-200):]
		return fmt.Errorf("machine %s: hook %s freezing: %s: exit code %d: %s", q.m.name, which, argv[0], cmp.Or(res.ExitCode, 128+res.Signal), said)
	}
	return nil
}

// refused gives the connection up unless the agent merely refused the command, and reports whether it did.
func (q *quiet) refused(err error) bool {
	var refusal *AgentError
	if errors.As(err, &refusal) {
		return true
	}
	q.hangUp()
	return false
}

// deadMan waits in the guest until its flag is gone or its time is over; then it thaws every file system, by the program
// for it or else by the kernel's emergency thaw, and runs the hook after. Nothing that it does before the thaw writes to a
// file system that may be frozen.
const deadMan = `flag=$1; after=$2; shift 2
[ -d "${flag%/*}" ] && : >"$flag" || exit 1
(
	trap "" HUP
	sleep "$after"
	[ -e "$flag" ] || exit 0
	thawed=
	while read -r device at rest; do
		case $device in /*) fsfreeze --unfreeze "$(printf %b "$at")" && thawed=1 ;; esac
	done </proc/self/mounts
	[ "$thawed" ] || echo j >/proc/sysrq-trigger
	rm -f "$flag"
	"$@"
) </dev/null >/dev/null 2>&1 &
`

// arm starts the dead man's switch, where the agent runs programs.
func (q *quiet) arm(ctx context.Context, limit time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, armLimit)
	defer cancel()
	a, err := q.call(ctx)
	if err != nil {
		return err
	}
	// Noted before it is so: to call off what was never begun does no harm.
	q.note.Frozen, q.note.Flag = true, "/run/understudy-freeze-"+q.note.ID
	if err := q.m.writeQuiet(q.note); err != nil {
		return err
	}
	seconds := int(math.Ceil((limit + deadManGrace).Seconds()))
	argv := append([]string{"/bin/sh", "-c", deadMan, "understudy", q.note.Flag, strconv.Itoa(seconds)}, q.hooks.After...)
	res, err := a.Exec(ctx, argv, nil)
	switch {
	case err != nil && !q.refused(err):
		return err
	case err != nil || res.ExitCode != 0:
		// An agent that may not run programs, or a guest without a shell: Windows thaws by itself after ten seconds.
		q.m.d.log.Debug("no dead man's switch in the guest", "machine", q.m.name, "err", err, "exit", res.ExitCode)
		q.note.Flag = ""
	}
	return nil
}

// freeze makes the file systems consistent and stops writes to them.
func (q *quiet) freeze(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	a, err := q.call(ctx)
	if err != nil {
		return err
	}
	if q.frozen, err = a.Freeze(ctx); err != nil {
		q.refused(err)
	}
	return err
}

// thaw lets the file systems go on. It may be repeated, and called when they are not frozen.
func (q *quiet) thaw(ctx context.Context) (was bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.note.Frozen {
		return false, nil
	}
	thawed := 0
	for range 2 { // the second time over a new connection
		var a *Agent
		if a, err = q.call(ctx); err == nil {
			if err = a.Run(ctx, "guest-fsfreeze-thaw", nil, &thawed); err == nil || q.refused(err) {
				break
			}
		}
	}
	if err != nil {
		return true, err
	}
	q.early = q.early || thawed < q.frozen
	q.note.Frozen = false
	return true, q.m.writeQuiet(q.note)
}

// tooLong thaws a guest whose time is over.
func (q *quiet) tooLong(ctx context.Context) error {
	was, err := q.thaw(ctx)
	q.mu.Lock()
	q.early = q.early || was
	q.mu.Unlock()
	return err
}

// after calls the dead man's switch off and runs the hook that lets the guest's applications go on. Then nothing is noted.
func (q *quiet) after(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.note.Frozen {
		return nil
	}
	if q.note.Flag != "" {
		off, cancel := context.WithTimeout(ctx, armLimit)
		defer cancel()
		a, err := q.call(off)
		if err != nil {
			return err
		}
		if _, err := a.Exec(off, []string{"/bin/rm", "-f", q.note.Flag}, nil); err != nil && !q.refused(err) {
			return err
		}
	}
	var err error
	if len(q.note.After) > 0 {
		if err = q.run(ctx, "after", q.note.After); err != nil && q.agent == nil {
			return err // it may not have run
		}
	}
	return errors.Join(err, q.m.forgetQuiet())
}

// frozenEarly reports whether the file systems went on before the instant was made.
func (q *quiet) frozenEarly() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.early
}

// silence is what makes the guests of a capture quiet.
type silence struct {
	c      *capture
	guests []*quiet
	hooked bool // a hook before the freezing ran, and none failed
	frozen bool // all file systems
	timer  *time.Timer
	late   context.CancelFunc
	over   sync.WaitGroup
}

// silence makes all running guests quiet, as far as that goes: what failed is the capture's shortfall.
func (c *capture) silence(ctx context.Context) *silence {
	s := &silence{c: c}
	for _, p := range c.parts {
		if l, ok := p.(*live); ok {
			s.guests = append(s.guests, &quiet{m: l.m, hooks: c.req.Hooks[l.m.name],
				note: quietNote{Group: c.req.Group, ID: c.req.ID, Generation: l.generation}})
		}
	}
	if len(s.guests) == 0 {
		return s
	}
	for _, p := range c.parts {
		if l, ok := p.(*live); ok && !l.goesOn {
			c.short = fmt.Errorf("machine %s: the guest stands still", l.m.name)
			return s
		}
	}
	limit := cmp.Or(c.req.FreezeTimeout, dr.DefaultFreezeTimeout)
	hooks := s.each(func(q *quiet) error {
		if err := q.ready(ctx); err != nil {
			return err
		}
		return q.before(ctx)
	})
	s.hooked = hooks == nil && slices.ContainsFunc(s.guests, func(q *quiet) bool { return len(q.hooks.Before) > 0 })
	err := s.each(func(q *quiet) error { return q.arm(ctx, limit) })
	if err == nil {
		frozen, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("its file systems were not frozen within %s", limit))
		held, late := context.WithCancel(context.WithoutCancel(ctx))
		s.late = late
		s.over.Add(1)
		s.timer = time.AfterFunc(limit, func() {
			defer s.over.Done()
			// A guest that stands still does not answer; end must not wait for this one then.
			held, cancel := context.WithTimeout(held, contLimit)
			defer cancel()
			_ = s.each(func(q *quiet) error { return q.tooLong(held) }) // end tries again and tells
		})
		if err = s.each(func(q *quiet) error { return q.freeze(frozen) }); errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", context.Cause(frozen), err)
		}
		cancel()
	}
	s.frozen = err == nil
	c.short = errors.Join(hooks, err)
	if err != nil {
		s.thaw(context.WithoutCancel(ctx)) // nobody is to wait for an instant that is not better for it
	}
	return s
}

func (s *silence) each(f func(*quiet) error) error {
	errs := make([]error, len(s.guests))
	var wg sync.WaitGroup
	for i, q := range s.guests {
		wg.Go(func() { errs[i] = f(q) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *silence) thaw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, contLimit)
	defer cancel()
	if err := s.each(func(q *quiet) error { _, err := q.thaw(ctx); return err }); err != nil {
		s.c.d.log.Error("guest file systems may be frozen until the next capture", "group", s.c.req.Group, "error", err)
	}
}

// made ends the time in which the instant has to be made. It takes a nil silence.
func (s *silence) made() {
	if s == nil || s.timer == nil {
		return
	}
	if s.timer.Stop() {
		s.over.Done()
	}
}

// end lets the guests go on, after the instant or when there is none, and says what the capture can promise. Guests that
// may stand still answer nothing: then what was done stays noted. It takes a nil silence.
func (s *silence) end(ctx context.Context, running bool) {
	if s == nil {
		return
	}
	if running {
		s.thaw(ctx)
	}
	if s.timer != nil {
		s.late()
		s.over.Wait()
	}
	if s.frozen && slices.ContainsFunc(s.guests, (*quiet).frozenEarly) {
		s.frozen = false
		s.c.short = errors.Join(s.c.short, errors.New("the guests' file systems were thawed before the instant: it took too long to make"))
	}
	switch {
	case s.frozen && s.hooked:
		s.c.kind = dr.ApplicationConsistent
	case s.frozen:
		s.c.kind = dr.FilesystemConsistent
	}
	if err := s.each(func(q *quiet) error { defer q.hangUp(); return q.after(ctx) }); err != nil {
		s.c.short = errors.Join(s.c.short, err)
	}
}
