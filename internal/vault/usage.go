package vault

import (
	"context"
	"fmt"
	"strings"

	"understudy/internal/vault/blob"
)

// Usage is what a vault holds.
type Usage struct {
	Bytes   int64
	Objects int
	Groups  map[string]GroupUsage
	Free    int64 // bytes that can still be stored; negative where the store does not know
}

// GroupUsage is what a vault holds of one group, also of what is about to be deleted.
type GroupUsage struct {
	Bytes   int64
	Objects int
}

// limited is a store that knows how much it can still hold.
type limited interface {
	Free(ctx context.Context) (int64, error)
}

// Usage adds up everything in the vault. It lists every object, once.
func (v *Vault) Usage(ctx context.Context) (Usage, error) {
	u := Usage{Groups: map[string]GroupUsage{}, Free: -1}
	err := v.store.List(ctx, "", func(i blob.Info) error {
		u.Bytes += i.Size
		u.Objects++
		if rest, ok := strings.CutPrefix(i.Name, "g/"); ok {
			group, _, _ := strings.Cut(rest, "/")
			g := u.Groups[group]
			g.Bytes += i.Size
			g.Objects++
			u.Groups[group] = g
		}
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("add up the vault: %w", unavailable(err))
	}
	if l, ok := v.store.(limited); ok {
		if u.Free, err = l.Free(ctx); err != nil {
			return u, fmt.Errorf("ask the vault for room: %w", unavailable(err))
		}
	}
	return u, nil
}
