package recovery

import (
	"context"
	"sync"
)

// locks orders those who hold machines against those who release them, machine by machine: a site that does not answer
// holds up nobody at another, and who waits can give up.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is free
}

// take waits for a machine of a site.
func (l *locks) take(ctx context.Context, siteName, machine string) (free func(), err error) {
	key := siteName + "/" + machine
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = map[string]chan struct{}{}
		}
		wait := l.held[key]
		if wait == nil {
			done := make(chan struct{})
			l.held[key] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, key)
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
