package blob

import (
	"context"
	"io"
)

// A Source is what Create reads from: it counts, ends with its context, and keeps the error of the reader apart from those
// of a store.
type Source struct {
	Ctx context.Context
	R   io.Reader
	N   int64 // bytes read
	Err error // that R gave, other than io.EOF
}

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	if err := s.Ctx.Err(); err != nil {
		s.Err = err
		return 0, err
	}
	n, err := s.R.Read(p)
	s.N += int64(n)
	if err != nil && err != io.EOF {
		s.Err = err
	}
	return n, err
}
