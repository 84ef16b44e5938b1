package vault

import (
	"context"
	"errors"
	"io"
	"sync"

	"understudy/internal/vault/blob"
)

// pipe hands written chunks, uncopied, to a reader. Unlike io.Pipe it is an io.WriterTo, so that a store gets a whole frame at a time.
type pipe struct {
	chunks chan []byte
	ack    chan struct{}

	readOnce, writeOnce sync.Once
	readDone, writeDone chan struct{}
	readErr, writeErr   error

	rest []byte // of the chunk being read
}

func newPipe() *pipe {
	return &pipe{chunks: make(chan []byte), ack: make(chan struct{}), readDone: make(chan struct{}), writeDone: make(chan struct{})}
}

func (p *pipe) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	select {
	case p.chunks <- b:
	case <-p.readDone:
		return 0, p.readErr
	}
	select {
	case <-p.ack:
		return len(b), nil
	case <-p.readDone:
		return 0, p.readErr
	}
}

// closeWrite ends the stream with io.EOF or an error.
func (p *pipe) closeWrite(err error) {
	p.writeOnce.Do(func() { p.writeErr = err; close(p.writeDone) })
}

// closeRead makes writes fail with err.
func (p *pipe) closeRead(err error) {
	p.readOnce.Do(func() { p.readErr = err; close(p.readDone) })
}

func (p *pipe) next() error {
	select {
	case p.rest = <-p.chunks:
		return nil
	case <-p.writeDone:
		return p.writeErr
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.ack <- struct{}{}
	}
	return n, nil
}

func (p *pipe) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if len(p.rest) == 0 {
			if err := p.next(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		n, err := w.Write(p.rest)
		total += int64(n)
		if err != nil {
			return total, err
		}
		p.rest = nil
		p.ack <- struct{}{}
	}
}

// An upload is an object being created from what is written to it.
type upload struct {
	*pipe
	name string
	done chan struct{}
	err  error // of Create, after done
}

var errAborted = errors.New("aborted")

func (v *Vault) upload(ctx context.Context, name string) *upload { return uploadTo(ctx, v.store, name) }

func uploadTo(ctx context.Context, store blob.Store, name string) *upload {
	u := &upload{pipe: newPipe(), name: name, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		if _, u.err = store.Create(ctx, name, u.pipe); errors.Is(u.err, blob.ErrExists) {
			// Let the writer end: whether the object that exists is the one being written shows at the commit.
			_, _ = u.WriteTo(io.Discard)
		}
		err := u.err
		if err == nil {
			err = errors.New("store stopped reading")
		}
		u.closeRead(err)
	}()
	return u
}

// finish completes the object and waits for the store.
func (u *upload) finish() error {
	u.closeWrite(io.EOF)
	<-u.done
	return u.err
}

// abort makes the creation fail.
func (u *upload) abort() {
	u.closeWrite(errAborted)
	<-u.done
}
