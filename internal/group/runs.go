package group

import (
	"slices"
	"strconv"
)

// runs writes a set of indexes as scripts take it: "from,count,from,count…", ascending.
func runs(indexes []int) string {
	sorted := slices.Sorted(slices.Values(indexes))
	var b []byte
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j] == sorted[j-1]+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(sorted[i]), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(j-i), 10)
		i = j
	}
	return string(b)
}
