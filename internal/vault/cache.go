package vault

import (
	"container/list"
	"sync"

	"understudy/internal/vault/segment"
)

// frameCache is a bounded LRU of decoded frames. A frame that several readers want is decoded once.
type frameCache struct {
	codec *segment.Codec
	limit int

	mu      sync.Mutex
	entries map[frameKey]*cachedFrame
	unused  list.List // of entries that nobody holds, oldest first
}

type frameKey struct {
	layer uint16
	frame uint32
}

type cachedFrame struct {
	key   frameKey
	buf   *[segment.FrameSize]byte
	err   error
	ready chan struct{}
	refs  int
	place *list.Element // in unused
}

func newFrameCache(codec *segment.Codec, bytes int64) *frameCache {
	return &frameCache{codec: codec, limit: max(int(bytes/segment.FrameSize), 2), entries: make(map[frameKey]*cachedFrame)}
}

// get returns a frame, held until put. load fills it when it is not cached.
func (c *frameCache) get(key frameKey, load func(dst []byte) error) (*cachedFrame, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		e = &cachedFrame{key: key, refs: 1, ready: make(chan struct{})}
		c.entries[key] = e
		c.shrink()
		c.mu.Unlock()
		e.buf = c.codec.Buffer()
		e.err = load(e.buf[:])
		close(e.ready)
	} else {
		e.refs++
		if e.place != nil {
			c.unused.Remove(e.place)
			e.place = nil
		}
		c.mu.Unlock()
		<-e.ready
	}
	if e.err != nil {
		err := e.err
		c.put(e)
		return nil, err
	}
	return e, nil
}

func (c *frameCache) has(key frameKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[key] != nil
}

func (c *frameCache) put(e *cachedFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.refs--; e.refs > 0 {
		return
	}
	if e.err != nil {
		c.drop(e)
		return
	}
	e.place = c.unused.PushBack(e)
	c.shrink()
}

func (c *frameCache) shrink() {
	for len(c.entries) > c.limit && c.unused.Len() > 0 {
		e := c.unused.Front().Value.(*cachedFrame)
		c.unused.Remove(e.place)
		c.drop(e)
	}
}

func (c *frameCache) drop(e *cachedFrame) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	c.codec.Release(e.buf)
}
