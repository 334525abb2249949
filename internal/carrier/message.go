package carrier

import (
	"encoding/binary"
	"unicode/utf8"
)

// messageID reads the ID out of asynq's message (a protobuf, TaskMessage), under which asynq starts the handler. It is
// false for what asynq would not decode, so that no handler would come, and for an empty ID.
func messageID(b []byte) (string, bool) {
	var id string
	ok := fields(b, func(number uint64, data []byte) bool {
		switch number {
		case 3:
			id = string(data)
			return utf8.Valid(data)
		case 1, 4, 7, 10, 14: // the other texts: protobuf refuses what is not UTF-8
			return utf8.Valid(data)
		case 15: // headers: one key and value each
			return fields(data, func(_ uint64, text []byte) bool { return utf8.Valid(text) })
		}
		return true
	})
	return id, ok && id != ""
}

// messageQueue reads asynq's name of the queue out of a message that messageID has accepted.
func messageQueue(b []byte) (name string) {
	fields(b, func(number uint64, data []byte) bool {
		if number == 4 {
			name = string(data)
		}
		return true
	})
	return name
}

// fields walks over the fields of a protobuf message and calls each with those that have bytes; false from it ends the walk, as
// does what is no message.
func fields(b []byte, each func(number uint64, data []byte) bool) bool {
	return walk(b, each, func(uint64, uint64) {})
}

// walk is fields, and tells the numbers too.
func walk(b []byte, each func(number uint64, data []byte) bool, value func(number, value uint64)) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return false
		}
		b = b[n:]
		switch tag & 7 {
		case 0: // varint
			var v uint64
			if v, n = binary.Uvarint(b); n <= 0 {
				return false
			}
			value(tag>>3, v)
		case 1: // 64 bits
			n = 8
		case 2: // bytes
			size, m := binary.Uvarint(b)
			if m <= 0 || size > uint64(len(b)-m) {
				return false
			}
			n = m + int(size)
			if !each(tag>>3, b[m:n]) {
				return false
			}
		case 5: // 32 bits
			n = 4
		default:
			return false
		}
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}
