package transfer

import (
	"errors"
	"os"
)

// Distrust makes a journal of what its target was found not to hold believe nothing: the next copy compares all of the
// target. A journal that does not exist stays so.
func Distrust(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A head that is of nothing, as long as a head is.
	_, err = f.WriteAt(make([]byte, headSize), 0)
	return errors.Join(err, f.Sync(), f.Close())
}
