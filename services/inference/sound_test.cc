#include "services/inference/sound.h"

#include <gtest/gtest.h>

namespace aima::inference {
namespace {

std::string Little(uint32_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// One second of 8 000 samples of 16 bits, after a chunk of another kind; `length` is what the file says of itself.
std::string Wav(uint32_t length = 16000) {
  const std::string format =
      Little(1, 2) + Little(1, 2) + Little(8000, 4) + Little(16000, 4) + Little(2, 2) + Little(16, 2);
  return "RIFF" + Little(0, 4) + "WAVE" + "LIST" + Little(3, 4) + std::string(4, 'x') + "fmt " + Little(16, 4) +
         format + "data" + Little(length, 4);
}

SoundLength LengthOf(const std::string& beginning, size_t size) {
  return LengthOfSound(v1::AUDIO_FORMAT_WAV, {}, beginning, size);
}

TEST(Sound, AWavFileTellsItsLength) {
  const SoundLength length = LengthOf(Wav(), Wav().size() + 16000);
  EXPECT_DOUBLE_EQ(length.seconds, 1);
  EXPECT_EQ(length.sample_rate, 8000);
}

TEST(Sound, AWavFileThatWasStreamedIsAsLongAsItsBytes) {
  for (const uint32_t length : {0u, 0xffffffffu, 0x7fffffffu}) {
    EXPECT_DOUBLE_EQ(LengthOf(Wav(length), Wav().size() + 8000).seconds, 0.5) << length;
  }
}

TEST(Sound, WhatIsNoWavFileHasNoLength) {
  for (size_t size = 0; size < Wav().size(); ++size) {
    EXPECT_EQ(LengthOf(Wav().substr(0, size), size).seconds, 0) << size;
  }
  EXPECT_EQ(LengthOf("RIFFxxxxWAVEdata", 16).seconds, 0);
}

TEST(Sound, OtherFormatsHaveTheLengthThatTheHeadTells) {
  const SoundLength length =
      LengthOfSound(v1::AUDIO_FORMAT_MP3, {{"X-Audio-Duration", "2.5"}, {"X-Sample-Rate", "24000"}}, "ID3", 100);
  EXPECT_DOUBLE_EQ(length.seconds, 2.5);
  EXPECT_EQ(length.sample_rate, 24000);
  for (const char* none : {"long", "nan", "inf", "1e999"}) {
    EXPECT_EQ(LengthOfSound(v1::AUDIO_FORMAT_MP3, {{"X-Audio-Duration", none}}, "ID3", 100).seconds, 0) << none;
  }
}

TEST(Sound, ContentTypesNameFormats) {
  EXPECT_EQ(SoundFormatOf("audio/mpeg", v1::AUDIO_FORMAT_WAV), v1::AUDIO_FORMAT_MP3);
  EXPECT_EQ(SoundFormatOf("Audio/PCM;rate=24000", v1::AUDIO_FORMAT_WAV), v1::AUDIO_FORMAT_PCM);
  EXPECT_EQ(SoundFormatOf("application/octet-stream", v1::AUDIO_FORMAT_FLAC), v1::AUDIO_FORMAT_FLAC);
  EXPECT_EQ(SoundFormatOf("", v1::AUDIO_FORMAT_UNSPECIFIED), v1::AUDIO_FORMAT_WAV);
}

}  // namespace
}  // namespace aima::inference
