package file

import (
	"container/list"
	"io/fs"
	"os"
	"sync"
)

// maxHandles bounds the files that stay open between reads. An open of a recovery point touches about a dozen.
const maxHandles = 64

// handles are the open files of recent reads, oldest out first. The zero value is ready. A file whose name was removed, by
// whichever process, is not used again.
type handles struct {
	mu     sync.Mutex
	byName map[string]*handle
	used   list.List // of *handle, most recent first
}

type handle struct {
	name  string
	file  *os.File
	place *list.Element
	users int
	stale bool // closed by its last user
}

// open returns a file to read from; release must follow.
func (h *handles) open(name, path string) (*handle, error) {
	h.mu.Lock()
	if f, ok := h.byName[name]; ok {
		if hasName(f.file) {
			f.users++
			h.used.MoveToFront(f.place)
			h.mu.Unlock()
			return f, nil
		}
		h.forget(f)
	}
	h.mu.Unlock()

	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		if err == nil {
			err = fs.ErrNotExist
		}
		return nil, err
	}
	f := &handle{name: name, file: file, users: 1}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.byName[name]; ok || !keepsHandles {
		f.stale = true // another reader was as quick: this one serves its call only
		return f, nil
	}
	if h.byName == nil {
		h.byName = map[string]*handle{}
	}
	h.byName[name] = f
	f.place = h.used.PushFront(f)
	if h.used.Len() > maxHandles {
		h.forget(h.used.Back().Value.(*handle))
	}
	return f, nil
}

func (h *handles) release(f *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.users--
	if f.stale && f.users == 0 {
		f.file.Close()
	}
}

// drop forgets the file of a name, or all for the empty name.
func (h *handles) drop(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name != "" {
		if f, ok := h.byName[name]; ok {
			h.forget(f)
		}
		return
	}
	for _, f := range h.byName {
		h.forget(f)
	}
}

// forget takes a file out; it is closed when nobody reads from it any more. The caller holds mu.
func (h *handles) forget(f *handle) {
	delete(h.byName, f.name)
	h.used.Remove(f.place)
	f.stale = true
	if f.users == 0 {
		f.file.Close()
	}
}
