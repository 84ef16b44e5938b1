package vault

import (
	"context"
	"encoding/json"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/vault/segment"
)

// layer is a segment opened for reading.
type layer struct {
	v       *Vault
	o       *object
	file    *segment.File
	sealer  *segment.Sealer // of the object itself
	key     segment.Key
	index   *segment.Index
	locator *segment.Locator
	sources []frameSource // by place in index.Parts
	parts   []segment.Part
}

// frameSource is an object that holds frames.
type frameSource struct {
	name   string
	start  int64 // of the frames
	sealer *segment.Sealer
}

func (v *Vault) openLayer(ctx context.Context, o *object) (*layer, error) {
	again, f, err := v.readObject(ctx, o.header.Group, o.name, o.size, segment.TailBytes)
	if err != nil {
		return nil, err
	}
	if again.to != o.to || again.from != o.from {
		return nil, corrupt(fmt.Errorf("%s: changed since it was listed", o.name))
	}
	l := &layer{v: v, o: again, file: f}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	return l, nil
}

func (l *layer) open() (err error) {
	if l.key, err = l.v.unwrap(l.file.Header); err != nil {
		return err
	}
	l.sealer = l.file.Sealer(l.key)
	if l.index, err = l.file.Index(l.v.codec, l.sealer); err != nil {
		return err
	}
	l.locator = l.index.Locator()
	if l.file.Trailer.PartsLen == 0 {
		l.sources = []frameSource{{name: l.o.name, start: l.file.Trailer.HeaderLen, sealer: l.sealer}}
		return nil
	}
	if l.parts, err = l.file.Parts(); err != nil {
		return err
	}
	for i, p := range l.parts {
		x := l.index.Parts[i]
		if x.Part != p.Number || int64(p.HeaderLen)+x.Length()+segment.TrailerSize > p.Size {
			return corrupt(fmt.Errorf("part %d does not match the index", p.Number))
		}
		l.sources = append(l.sources, frameSource{name: partName(l.o.header.Group, l.o.header.Seed, p.Number),
			start: int64(p.HeaderLen), sealer: segment.NewSealer(l.key, p.Header, p.Number)})
	}
	return nil
}

func (l *layer) machines() ([]dr.Machine, error) {
	b, err := l.file.Description(l.v.codec, l.sealer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.o.name, err)
	}
	var m []dr.Machine
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, corrupt(fmt.Errorf("%s: description: %w", l.o.name, err))
	}
	return m, nil
}

// sealedFrame is room for any frame as it is stored.
type sealedFrame [segment.FrameSize + 64]byte

// frame reads and decodes a frame into the start of dst and returns its length.
func (l *layer) frame(ctx context.Context, n uint32, dst []byte) (int, error) {
	part, f := l.locator.Find(n)
	src := l.sources[part]
	buf := l.v.sealed.Get().(*sealedFrame)
	defer l.v.sealed.Put(buf)
	sealed := buf[:f.Stored]
	if err := l.v.store.ReadAt(ctx, src.name, sealed, src.start+f.Offset); err != nil {
		return 0, fmt.Errorf("%s: frame %d: %w", src.name, f.Number, readError(err))
	}
	plain := f.Blocks * dr.BlockSize
	if err := l.v.codec.OpenFrame(src.sealer, f, sealed, dst[:plain]); err != nil {
		return 0, fmt.Errorf("%s: %w", src.name, err)
	}
	return plain, nil
}
