#include "services/inference/sound.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "libs/unit/json_codec.h"

namespace aima::inference {
namespace {

constexpr int kSampleBytes = 2;

uint32_t Number(std::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size && at + i < bytes.size(); ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

// A WAV file is a list of chunks: "fmt " tells bytes per second, "data" has the samples. Who writes one without knowing
// its end gives the samples a length that is too large, or none.
SoundLength LengthOfWav(std::string_view file, size_t size) {
  SoundLength length;
  if (file.size() < 12 || file.substr(0, 4) != "RIFF" || file.substr(8, 4) != "WAVE") return length;
  uint32_t bytes_per_second = 0;
  for (size_t at = 12; at + 8 <= file.size();) {
    const std::string_view name = file.substr(at, 4);
    const size_t chunk = Number(file, at + 4, 4);
    if (name == "fmt ") {
      length.sample_rate = static_cast<int>(Number(file, at + 12, 4));
      bytes_per_second = Number(file, at + 16, 4);
    } else if (name == "data") {
      const size_t there = size - at - 8;
      if (bytes_per_second > 0) {
        length.seconds = static_cast<double>(chunk == 0 ? there : std::min(chunk, there)) / bytes_per_second;
      }
      return length;
    }
    at += 8 + chunk + chunk % 2;
  }
  return length;
}

template <class Value, class Parse>
Value Told(const http::Headers& headers, std::string_view name, Parse parse) {
  const std::string_view text = headers.Get(name);
  Value value{};
  return parse(absl::string_view(text.data(), text.size()), &value) ? value : Value{};
}

}  // namespace

std::string SoundFormat(v1::AudioFormat format) {
  if (format == v1::AUDIO_FORMAT_UNSPECIFIED) format = v1::AUDIO_FORMAT_WAV;
  return EnumText(*v1::AudioFormat_descriptor()->FindValueByNumber(format));
}

v1::AudioFormat SoundFormatOf(std::string_view content_type, v1::AudioFormat asked) {
  const std::string type = absl::AsciiStrToLower(absl::string_view(content_type.data(), content_type.size()));
  if (absl::StartsWith(type, "audio/pcm") || absl::StartsWith(type, "audio/l16")) return v1::AUDIO_FORMAT_PCM;
  if (absl::StartsWith(type, "audio/wav") || absl::StartsWith(type, "audio/x-wav")) return v1::AUDIO_FORMAT_WAV;
  if (absl::StartsWith(type, "audio/mpeg") || absl::StartsWith(type, "audio/mp3")) return v1::AUDIO_FORMAT_MP3;
  if (absl::StartsWith(type, "audio/ogg") || absl::StartsWith(type, "audio/opus")) return v1::AUDIO_FORMAT_OPUS;
  if (absl::StartsWith(type, "audio/flac") || absl::StartsWith(type, "audio/x-flac")) return v1::AUDIO_FORMAT_FLAC;
  return asked == v1::AUDIO_FORMAT_UNSPECIFIED ? v1::AUDIO_FORMAT_WAV : asked;
}

SoundLength LengthOfSound(v1::AudioFormat format, const http::Headers& headers, std::string_view beginning,
                          size_t size) {
  SoundLength length;
  length.seconds = Told<double>(headers, "x-audio-duration",
                                [](auto t, double* v) { return absl::SimpleAtod(t, v) && std::isfinite(*v); });
  length.sample_rate = Told<int>(headers, "x-sample-rate", [](auto t, int* v) { return absl::SimpleAtoi(t, v); });
  if (format == v1::AUDIO_FORMAT_WAV) {
    const SoundLength read = LengthOfWav(beginning, size);
    if (read.sample_rate > 0) length = read;
  } else if (format == v1::AUDIO_FORMAT_PCM && length.sample_rate > 0) {
    length.seconds = static_cast<double>(size) / kSampleBytes / length.sample_rate;
  }
  return length;
}

}  // namespace aima::inference
