package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
)

// wholeLimit bounds the late making of a whole capture.
const wholeLimit = 30 * time.Second

// whole returns the readable view of a disk of a capture that had nothing to read, because nobody wrote to its machines.
// They are captured once more, in full: as long as still nothing was written, that shows the same state.
func (d *liveDisk) whole() (*liveDisk, error) {
	l := d.lv
	l.c.ending.Lock()
	defer l.c.ending.Unlock()
	if l.c.ended != "" {
		return nil, errors.New("the capture has ended")
	}
	if l.full == nil && l.c.broken == nil {
		ctx, cancel := context.WithTimeout(context.Background(), wholeLimit)
		defer cancel()
		l.c.broken = l.c.again(ctx)
	}
	if l.c.broken != nil {
		return nil, l.c.broken
	}
	for _, w := range l.full.disks {
		if w.disk.Name == d.disk.Name && w.disk.Size == d.disk.Size {
			return w, nil
		}
	}
	return nil, errors.New("the machine's definition changed")
}

// again captures the running machines of c in full. The parts of c hand their end over to those of the new capture,
// whether or not that came to be.
func (c *capture) again(ctx context.Context) error {
	second := &capture{d: c.d, req: c.req}
	defer second.release()
	for _, p := range c.parts { // in the order of names
		l, ok := p.(*live)
		if !ok {
			continue
		}
		unlock, err := l.m.lock(ctx)
		if err != nil {
			return err
		}
		l.full = &live{c: second, m: l.m, req: l.req, unlock: unlock}
		second.parts = append(second.parts, l.full)
	}
	if err := second.each(func(p part) error { return p.prepare(ctx) }); err != nil {
		return err
	}
	if err := second.full(ctx); err != nil {
		return err
	}
	c.paused = second.paused
	for _, p := range second.parts {
		for _, d := range p.(*live).disks {
			if d.track.since == "" || d.dirty > 0 || d.grown >= 0 {
				return dr.WithHint(fmt.Errorf("disk %s was written to since the capture", d.ID()), dr.KindUnavailable, "capture again")
			}
		}
	}
	return nil
}
