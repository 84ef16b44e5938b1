package dr

import (
	"fmt"
	"strconv"
	"strings"
)

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"", 1}}

// ParseSize reads a number of bytes, such as 20GiB or 1.5T.
func ParseSize(s string) (int64, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || n <= 0 || n*u.bytes > 1<<62 || n*u.bytes != float64(int64(n*u.bytes)) {
			break
		}
		return int64(n * u.bytes), nil
	}
	return 0, WithHint(fmt.Errorf("size %q is not valid", s), KindInvalid, "write, for example, 512MiB, 20GiB or 1TB")
}
