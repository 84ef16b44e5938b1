package file

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"understudy/internal/vault/blob"
)

// List implements blob.Store. It holds the names of one folder of each level at a time.
func (s *Store) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if err := ctx.Err(); err != nil {
		return s.explain("list", prefix, err)
	}
	if err := blob.CheckPrefix(prefix); err != nil {
		return err
	}
	folder := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		folder = prefix[:i]
	}
	l := lister{ctx: ctx, store: s, prefix: prefix, fn: fn}
	return l.folder(folder)
}

type lister struct {
	ctx    context.Context
	store  *Store
	prefix string
	fn     func(blob.Info) error
}

func (l *lister) folder(name string) error {
	entries, err := os.ReadDir(l.store.path(name))
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return l.store.explain("list", l.prefix, err)
	}
	// In the order of whole names a folder sorts as its name and a slash, which some allowed bytes precede.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return l.store.explain("list", l.prefix, err)
		}
		child := path.Join(name, e.Name())
		if blob.CheckName(child) != nil {
			continue // the store's own folder, or something that is not of this store
		}
		if e.IsDir() {
			if strings.HasPrefix(child+"/", l.prefix) {
				if err := l.folder(child); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(child, l.prefix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if isMissing(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			return l.store.explain("list", l.prefix, err)
		}
		if err := l.fn(blob.Info{Name: child, Size: info.Size(), Modified: info.ModTime()}); err != nil {
			return err
		}
	}
	return nil
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
