package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// A tagged object is a file of one line and the data:
//
//	understudy-tagged <tag> <CRC-32C of tag and data, 8 hex digits>\n
//
// The tag is random and new with each version, so that a return to older data is seen as a change.
const taggedMagic = "understudy-tagged"

const maxTaggedFile = blob.MaxTagged + 128

// GetTagged implements blob.Store.
func (s *Store) GetTagged(ctx context.Context, name string) ([]byte, string, error) {
	if err := s.begin(ctx, name); err != nil {
		return nil, "", s.explain("get", name, err)
	}
	data, tag, err := readTagged(s.path(name))
	if err != nil {
		return nil, "", s.explain("get", name, err)
	}
	return data, tag, nil
}

// PutTagged implements blob.Store.
func (s *Store) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	if err := s.begin(ctx, name); err != nil {
		return "", s.explain("put", name, err)
	}
	if len(data) > blob.MaxTagged {
		return "", dr.WithHint(fmt.Errorf("put %s: %d bytes, more than a tagged object holds (%d)", name, len(data), blob.MaxTagged), dr.KindInvalid, "")
	}
	newTag := strings.ToLower(rand.Text())
	tmp, _, err := s.writeTemp(ctx, io.MultiReader(strings.NewReader(taggedHeader(newTag, data)), bytes.NewReader(data)))
	if err != nil {
		return "", s.explain("put", name, err)
	}
	defer os.Remove(tmp) // gone already when all went well
	if err := s.swap(ctx, tmp, name, tag); err != nil {
		return "", s.explain("put", name, err)
	}
	return newTag, nil
}

// swap puts a durable temporary file in the place of the version that has the tag.
func (s *Store) swap(ctx context.Context, tmp, name, tag string) error {
	if err := s.makeParents(name); err != nil {
		return err
	}
	unlock, err := s.lock(ctx, lockOf(name))
	if err != nil {
		return err
	}
	defer unlock()
	path := s.path(name)
	if tag == "" {
		if err := s.giveName(ctx, tmp, name); errors.Is(err, blob.ErrExists) {
			return blob.ErrChanged
		} else if err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	}
	_, current, err := readTagged(path)
	if isMissing(err) || err == nil && current != tag {
		return blob.ErrChanged
	}
	if err != nil {
		return err
	}
	s.handles.drop(name)
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func taggedHeader(tag string, data []byte) string {
	return fmt.Sprintf("%s %s %08x\n", taggedMagic, tag, taggedSum(tag, data))
}

func taggedSum(tag string, data []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(tag), table), table, data)
}

func readTagged(path string) (data []byte, tag string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, "", err
	} else if !info.Mode().IsRegular() {
		return nil, "", fs.ErrNotExist
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxTaggedFile+1))
	if err != nil {
		return nil, "", err
	}
	header, data, ok := bytes.Cut(raw, []byte{'\n'})
	fields := strings.Split(string(header[:min(len(header), 128)]), " ")
	if !ok || len(raw) > maxTaggedFile || len(fields) != 3 || fields[0] != taggedMagic || fields[1] == "" {
		return nil, "", dr.WithHint(errors.New("not a tagged object"), dr.KindCorrupt, "")
	}
	if fields[2] != fmt.Sprintf("%08x", taggedSum(fields[1], data)) {
		return nil, "", dr.WithHint(errors.New("checksum of a tagged object does not match"), dr.KindCorrupt, "")
	}
	return data, fields[1], nil
}
