package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// setScalar reads a scalar into v. It is stricter than YAML: a number is not cut to fit, a quoted
// number is a text, and only true and false are booleans.
func setScalar(node *yaml.Node, v reflect.Value) error {
	if isNull(node) {
		return fmt.Errorf("is empty, but must be %s", wanted(v.Type()))
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return text.UnmarshalText([]byte(node.Value))
	}
	mismatch := fmt.Errorf("%q is not %s", node.Value, wanted(v.Type()))
	if v.Type() == durationType {
		d, err := time.ParseDuration(node.Value)
		if err != nil {
			return mismatch
		}
		v.SetInt(int64(d))
		return nil
	}
	if v.Kind() == reflect.String {
		v.SetString(node.Value)
		return nil
	}
	if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return mismatch
	}
	return setPlain(strings.ReplaceAll(node.Value, "_", ""), v, mismatch)
}

// setPlain reads numbers and booleans.
func setPlain(text string, v reflect.Value, mismatch error) error {
	switch v.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return mismatch
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%s is too large", text)
		}
		if err != nil {
			return mismatch
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return mismatch
		}
		v.SetFloat(f)
	default:
		panic("config: no way to read a " + v.Type().String())
	}
	return nil
}

// wanted describes what a value of type t looks like.
func wanted(t reflect.Type) string {
	switch t {
	case bytesType:
		return "a size like 64MiB, 16k or 1GB"
	case durationType:
		return "a time span like 3s, 250ms or 5m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}
