package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
)

// An Effect is how a call of the controller goes wrong.
type Effect string

// Effects. All but Slow end a call; the store's flips and torn writes are the vault's own tests' affair.
const (
	Fail       Effect = "fail"        // nothing happens, an error is returned
	Lose       Effect = "lose"        // it happens, an error is returned
	Slow       Effect = "slow"        // it happens later
	KillBefore Effect = "kill-before" // the controller dies before it happens
	KillAfter  Effect = "kill-after"  // the controller dies when it has happened, before it learns that
	StopAfter  Effect = "stop-after"  // the controller is stopped for a while when it has happened
)

// A Fault makes calls go wrong: those of an operation of a site or of the store, Times of them from the Nth on.
type Fault struct {
	To     string `json:"to"`
	Op     string `json:"op"`
	Nth    int    `json:"nth"`
	Times  int    `json:"times,omitempty"`
	Effect Effect `json:"effect"`

	seen int
}

func (f *Fault) String() string {
	s := fmt.Sprintf("%s %s of %s, call %d", f.Effect, f.Op, f.To, f.Nth)
	if f.Times > 1 {
		s += fmt.Sprintf(" and %d more", f.Times-1)
	}
	return s
}

var errInjected = errors.New("injected fault")

// faults are what is armed now. The zero value has none.
type faults struct {
	mu    sync.Mutex
	armed []*Fault
	cut   map[string]bool // sites that cannot be reached
	met   map[Effect]int  // how many happened, in all
	hit   []string        // since the last reset: what happened to what
}

func (f *faults) arm(list []Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range list {
		f.armed = append(f.armed, &x)
	}
}

// heal disarms everything.
func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.cut = nil, nil
}

func (f *faults) setCut(site string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut == nil {
		f.cut = map[string]bool{}
	}
	f.cut[site] = true
	f.count("cut", site)
}

// count notes that something happened. It needs the lock, or note.
func (f *faults) count(e Effect, what string) {
	if f.met == nil {
		f.met = map[Effect]int{}
	}
	f.met[e]++
	f.hit = append(f.hit, string(e)+" "+what)
}

func (f *faults) note(e Effect, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(e, what)
}

// taken returns what happened since it was asked last.
func (f *faults) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	hit := f.hit
	f.hit = nil
	return hit
}

func (f *faults) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.met {
		n += m
	}
	return n
}

// next is what becomes of a call: an effect, or none, or an error for a site that is cut off.
func (f *faults) next(to, op string) (Effect, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut[to] {
		return Fail, dr.WithHint(fmt.Errorf("site %s does not answer: %w", to, errInjected), dr.KindUnavailable, "look at the line to it")
	}
	var met *Fault
	for _, x := range f.armed {
		if x.To != to || x.Op != op {
			continue
		}
		x.seen++
		if met == nil && x.seen >= x.Nth && x.seen < x.Nth+max(1, x.Times) {
			met = x
		}
	}
	if met == nil {
		return "", nil
	}
	f.count(met.Effect, op+" of "+to)
	return met.Effect, dr.WithHint(fmt.Errorf("%s: %w", op, errInjected), dr.KindUnavailable, "try again")
}

// slowFor is how long a slow call takes.
const slowFor = 300 * time.Millisecond

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
