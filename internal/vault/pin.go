package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// A pin keeps objects from being deleted while a point is read: a small object that is renewed, and that counts as gone
// when it was not renewed for its whole duration.
type pin struct {
	v      *Vault
	name   string
	tag    string
	object pinObject

	stop context.CancelFunc
	done sync.WaitGroup
	ctx  context.Context
}

type pinObject struct {
	Format  int       `json:"format"`
	Point   string    `json:"point"`
	Expires time.Time `json:"expires"`
	Objects []string  `json:"objects"` // a seed's parts go with it
}

const pinDuration = 10 * time.Minute

// pin pins objects that were listed at some time. When so long has passed since that they may be gone, it fails with
// blob.ErrNotFound, for the caller to list again.
func (v *Vault) pin(ctx context.Context, group, point string, objects []*object, listed time.Time) (*pin, error) {
	p := &pin{v: v, name: "g/" + group + "/pin/" + randomID(), object: pinObject{Format: formatVersion, Point: point}}
	prefix := "g/" + group + "/"
	for _, o := range objects {
		p.object.Objects = append(p.object.Objects, strings.TrimPrefix(o.name, prefix))
	}
	if err := p.renew(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// A vault that is full or read-only must still be recovered from.
		v.log.Warn("recovery point is read without a pin", "point", point, "error", err)
	}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.done.Go(p.keep)
	if took := v.now().Sub(listed); took > v.o.Grace/2 {
		return nil, errors.Join(fmt.Errorf("pin point %s: %w: it took %s", point, blob.ErrNotFound, took.Round(time.Second)), p.close())
	}
	return p, nil
}

func (p *pin) renew(ctx context.Context) error {
	p.object.Expires = p.v.now().Add(pinDuration).UTC()
	data, err := json.Marshal(p.object)
	if err == nil {
		p.tag, err = p.v.store.PutTagged(ctx, p.name, data, p.tag)
	}
	return err
}

func (p *pin) keep() {
	t := time.NewTicker(pinDuration / 4)
	defer t.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-t.C:
			if err := p.renew(p.ctx); err != nil && p.ctx.Err() == nil {
				p.v.log.Warn("recovery point could not be kept from deletion", "point", p.object.Point, "error", err)
				if _, tag, err := p.v.store.GetTagged(p.ctx, p.name); err == nil {
					p.tag = tag // of a renewal whose answer was lost
				}
			}
		}
	}
}

func (p *pin) close() error {
	p.stop()
	p.done.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), time.Minute)
	defer cancel()
	if err := p.v.store.Delete(ctx, p.name); err != nil {
		return fmt.Errorf("release point %s: %w", p.object.Point, unavailable(err))
	}
	return nil
}

// pinned returns the names of objects that readers hold.
func (v *Vault) pinned(ctx context.Context, group string) (map[string]bool, error) {
	held := make(map[string]bool)
	prefix := "g/" + group + "/"
	var names []string
	if err := v.store.List(ctx, prefix+"pin/", func(i blob.Info) error { names = append(names, i.Name); return nil }); err != nil {
		return nil, fmt.Errorf("list pins: %w", unavailable(err))
	}
	for _, name := range names {
		data, _, err := v.store.GetTagged(ctx, name)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read pin: %w", unavailable(err))
		}
		var p pinObject
		if err := json.Unmarshal(data, &p); err != nil || p.Format != formatVersion {
			return nil, dr.WithHint(fmt.Errorf("read pin %s: not a pin of format %d", name, formatVersion), dr.KindCorrupt, "")
		}
		// Clocks differ: a pin counts for a while after it ended by its own.
		if v.now().After(p.Expires.Add(pinDuration)) {
			if err := v.store.Delete(ctx, name); err != nil {
				return nil, fmt.Errorf("remove old pin: %w", unavailable(err))
			}
			continue
		}
		for _, o := range p.Objects {
			held[prefix+o] = true
		}
	}
	return held, nil
}
