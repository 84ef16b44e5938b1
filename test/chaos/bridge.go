package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"sync/atomic"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// The controller under test is a process of its own, so that it can be killed and stopped like one. Its sites and the
// store of its vault live in the world that tests it, which sees every call and can make any of them go wrong. They
// speak over a socket in the words below.

// A Call is a call of a method of something in the world: a site, or the store.
type Call struct {
	ID   uint64 // so that it can be cancelled
	To   string
	Op   string
	Args []byte // JSON
}

// An Answer is what a call returned.
type Answer struct {
	Result []byte // JSON
	Err    *Failure
}

// A Failure is an error on its way between processes.
type Failure struct {
	Text, Kind, Hint string
	Causes           []string // names of sentinels
}

// sentinels are the errors that callers compare with.
func sentinels() map[string]error {
	return map[string]error{
		"not found": blob.ErrNotFound, "exists": blob.ErrExists, "changed": blob.ErrChanged, "eof": io.EOF,
		"unexpected eof": io.ErrUnexpectedEOF, "cancelled": context.Canceled, "deadline": context.DeadlineExceeded,
	}
}

func toFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Text: err.Error(), Hint: dr.Hint(err)}
	var classed *dr.Error
	if errors.As(err, &classed) {
		f.Kind = string(classed.Kind)
	}
	for name, s := range sentinels() {
		if errors.Is(err, s) {
			f.Causes = append(f.Causes, name)
		}
	}
	return f
}

// remoteError has the text that the error had where it arose.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

func (f *Failure) err() error {
	if f == nil {
		return nil
	}
	e := &remoteError{text: f.Text}
	for _, name := range f.Causes {
		e.causes = append(e.causes, sentinels()[name])
	}
	if f.Kind == "" {
		return e
	}
	return dr.WithHint(e, dr.Kind(f.Kind), f.Hint)
}

// bridge is the controller's end.
type bridge struct {
	rpc  *rpc.Client
	last atomic.Uint64
}

// call makes a call and waits for its answer. A cancelled one is waited for as well: what it does must not go on behind
// the caller's back.
func call[R any](ctx context.Context, b *bridge, to, op string, args any) (result R, err error) {
	data, err := json.Marshal(args)
	if err != nil {
		return result, fmt.Errorf("%s %s: %w", op, to, err)
	}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	c := Call{ID: b.last.Add(1), To: to, Op: op, Args: data}
	done := b.rpc.Go("World.Do", c, &Answer{}, make(chan *rpc.Call, 1)).Done
	var end *rpc.Call
	select {
	case end = <-done:
	case <-ctx.Done():
		_ = b.rpc.Call("World.Cancel", c.ID, &struct{}{}) // a world that is gone has ended the call
		end = <-done
	}
	if end.Error != nil {
		return result, fmt.Errorf("%s %s: %w", op, to, end.Error)
	}
	answer := end.Reply.(*Answer)
	if len(answer.Result) > 0 {
		if err := json.Unmarshal(answer.Result, &result); err != nil {
			return result, fmt.Errorf("%s %s: read answer: %w", op, to, err)
		}
	}
	return result, answer.Err.err()
}

// none is an answer without a result.
type none struct{}
