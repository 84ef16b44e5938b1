package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"understudy/internal/store"
)

// feedEvery is how often those who follow what happens are told, at most, of what has no place in the record.
const feedEvery = time.Second

// A Change is something that those who follow what happens are told. One field is set.
type Change struct {
	Event    *store.Event  // it is in the record
	Groups   []string      // whose status changed, by name
	Progress []RunProgress // of runs
}

// RunProgress is how far a run is.
type RunProgress struct {
	Run  store.Run
	Step store.Step // that runs; its Name is empty when none does
}

// Events lists what is recorded.
func (c *Controller) Events(ctx context.Context, f store.EventFilter) ([]store.Event, error) {
	return c.store.Events(ctx, f)
}

// Follow tells of what happens until ctx ends or fn returns an error, which Follow returns: of events after a sequence,
// those that are recorded and then new ones; and, at most once a second, of groups whose status changed and of runs whose
// progress did. A negative sequence leaves out events that are recorded already. One call of fn at a time.
func (c *Controller) Follow(ctx context.Context, after int64, fn func(Change) error) error {
	groups := c.feed.join()
	defer c.feed.leave(groups)
	if after < 0 {
		last, err := c.store.LastEvent(ctx)
		if err != nil {
			return err
		}
		after = last
	}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	events, ended := make(chan store.Event), make(chan error, 1)
	following.Go(func() {
		ended <- c.store.Follow(ctx, store.EventFilter{After: after}, func(e store.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	changed := c.recovery.Changed()
	told := map[string]RunProgress{}
	for {
		select {
		case e := <-events:
			if e.Group != "" {
				groups.add(e.Group) // its state may have changed
			}
			if err := fn(Change{Event: &e}); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-tick.C:
			if names := groups.take(); len(names) > 0 {
				if err := fn(Change{Groups: names}); err != nil {
					return err
				}
			}
			select {
			case <-changed:
				changed = c.recovery.Changed()
			default:
				continue
			}
			list, err := c.progress(ctx, told)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				if err := fn(Change{Progress: list}); err != nil {
					return err
				}
			}
		}
	}
}

// progress returns how far the runs under way are that are not as far as was told.
func (c *Controller) progress(ctx context.Context, told map[string]RunProgress) ([]RunProgress, error) {
	runs, err := c.recovery.Runs(ctx, store.RunFilter{Active: true})
	if err != nil {
		return nil, err
	}
	var list []RunProgress
	active := map[string]bool{}
	for _, r := range runs {
		active[r.ID] = true
		_, steps, err := c.recovery.Run(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		p := RunProgress{Run: r}
		for _, s := range steps {
			if s.State == store.RunRunning || s.State == store.RunWaiting {
				p.Step = s
			}
		}
		if before, ok := told[r.ID]; ok && before.Step == p.Step && before.Run.State == r.State && before.Run.Message == r.Message {
			continue
		}
		told[r.ID] = p
		list = append(list, p)
	}
	maps.DeleteFunc(told, func(id string, _ RunProgress) bool { return !active[id] })
	return list, nil
}

// feed tells many followers which groups changed. It keeps names, not changes: a slow follower misses nothing that it
// would not read anew anyway.
type feed struct {
	mu        sync.Mutex
	followers map[*follower]bool
}

// A follower collects names of groups until they are taken.
type follower struct {
	mu    sync.Mutex
	names map[string]bool
}

func (f *feed) join() *follower {
	w := &follower{names: map[string]bool{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*follower]bool{}
	}
	f.followers[w] = true
	return w
}

func (f *feed) leave(w *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, w)
}

// group says that the status of a group changed.
func (f *feed) group(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.followers {
		w.add(name)
	}
}

func (w *follower) add(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[name] = true
}

// take returns the names that were collected, sorted.
func (w *follower) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := slices.Sorted(maps.Keys(w.names))
	clear(w.names)
	return names
}
