package main

import (
	"context"
	"fmt"
	"io"

	"understudy/internal/vault/blob"
)

// storeName is the store of the vault among what can be called.
const storeName = "store"

// remoteStore is the store of the world's vault as the controller uses it.
type remoteStore struct{ *bridge }

var _ blob.Store = remoteStore{}

type objectArgs struct {
	Name string
	Data []byte
	Tag  string
	Off  int64
	N    int
}

type tagged struct {
	Data []byte
	Tag  string
}

func (s remoteStore) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return blob.Info{}, fmt.Errorf("create %s: %w", name, err)
	}
	return call[blob.Info](ctx, s.bridge, storeName, "create", objectArgs{Name: name, Data: data})
}

func (s remoteStore) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	data, err := call[[]byte](ctx, s.bridge, storeName, "read", objectArgs{Name: name, Off: off, N: len(p)})
	copy(p, data)
	return err
}

func (s remoteStore) Stat(ctx context.Context, name string) (blob.Info, error) {
	return call[blob.Info](ctx, s.bridge, storeName, "stat", objectArgs{Name: name})
}

func (s remoteStore) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	list, err := call[[]blob.Info](ctx, s.bridge, storeName, "list", objectArgs{Name: prefix})
	for _, info := range list {
		if err := fn(info); err != nil {
			return err
		}
	}
	return err
}

func (s remoteStore) Delete(ctx context.Context, name string) error {
	_, err := call[none](ctx, s.bridge, storeName, "delete", objectArgs{Name: name})
	return err
}

func (s remoteStore) GetTagged(ctx context.Context, name string) ([]byte, string, error) {
	t, err := call[tagged](ctx, s.bridge, storeName, "get", objectArgs{Name: name})
	return t.Data, t.Tag, err
}

func (s remoteStore) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	return call[string](ctx, s.bridge, storeName, "put", objectArgs{Name: name, Data: data, Tag: tag})
}
