// The part of the rasterizer's FFI handlers that CPU and CUDA share: the types of
// buffers, the lists of arguments and results, and the checks of shapes.
#ifndef AFFJAX_CSRC_RASTERIZER_FFI_H_
#define AFFJAX_CSRC_RASTERIZER_FFI_H_

#include <cstdint>
#include <string>
#include <utility>

#include "silhouettes.h"
#include "xla/ffi/api/ffi.h"

namespace affjax::raster {

namespace ffi = xla::ffi;

using Vertices = ffi::BufferR3<ffi::F32>;   // [B, V, 4]
using Triangles = ffi::BufferR2<ffi::S32>;  // [T, 3]
using IntImage = ffi::BufferR3<ffi::S32>;   // [B, H, W]
using FloatImage = ffi::BufferR3<ffi::F32>;
using FloatChannels = ffi::BufferR4<ffi::F32>;  // [B, H, W, 4], or [B, H, W, 0]

// Each of these functions appends the arguments and results of a handler to a binding
// that has its contexts.
template <typename Binding>
auto bind_ids(Binding contexts) {
  return std::move(contexts)
      .template Arg<Vertices>()
      .template Arg<Triangles>()
      .template Ret<IntImage>();
}

template <typename Binding>
auto bind_nearest(Binding contexts) {
  return std::move(contexts)
      .template Arg<Vertices>()
      .template Arg<Triangles>()
      .template Arg<FloatImage>()
      .template Arg<IntImage>()
      .template Ret<FloatImage>()
      .template Ret<IntImage>();
}

template <typename Binding>
auto bind_locate(Binding contexts) {
  return std::move(contexts)
      .template Arg<Vertices>()
      .template Arg<Triangles>()
      .template Arg<IntImage>()
      .template Ret<FloatChannels>()
      .template Ret<FloatChannels>();
}

template <typename Binding>
auto bind_edges(Binding contexts) {
  return std::move(contexts)
      .template Arg<IntImage>()
      .template Arg<FloatImage>()
      .template Arg<FloatImage>()
      .template Arg<Triangles>()
      .template Arg<Triangles>()
      .template Ret<IntImage>()
      .template Ret<IntImage>()
      .template Ret<IntImage>()
      .template Ret<IntImage>();
}

inline ffi::Error invalid(const char* handler, const std::string& message) {
  return ffi::Error::InvalidArgument(std::string(handler) + ": " + message);
}

// Checks that a mesh and images of size [B, H, W] fit each other.
inline ffi::Error check_mesh(const char* handler, const Vertices& pos,
                             const Triangles& tri, ffi::Span<const int64_t> size) {
  if (pos.dimensions()[2] != 4 || tri.dimensions()[1] != 3 ||
      size[0] != pos.dimensions()[0]) {
    return invalid(handler, "expected pos [B, V, 4], tri [T, 3] and images [B, H, W]");
  }
  return ffi::Error::Success();
}

// Checks that the images of `rasterize_nearest` have as many pixels as its ids.
inline ffi::Error check_nearest(size_t pixels, const FloatImage& behind_depth,
                                const IntImage& behind_ids, const FloatImage& depth) {
  if (behind_depth.element_count() != pixels || behind_ids.element_count() != pixels ||
      depth.element_count() != pixels) {
    return invalid("rasterize_nearest", "all images must have one size");
  }
  return ffi::Error::Success();
}

// Checks that a raster has four channels, and its derivatives as many or none.
inline ffi::Error check_raster(const char* handler, size_t pixels, size_t rast,
                               size_t slopes) {
  if (rast != 4 * pixels || (slopes != 0 && slopes != rast)) {
    return invalid(handler, "a raster and its derivatives must have 4 channels");
  }
  return ffi::Error::Success();
}

// Collects the arguments of `silhouette_edges` in `images`, or returns an error.
inline ffi::Error read_edges(const IntImage& ids, const FloatImage& depth,
                             const FloatImage& rows, const Triangles& neighbors,
                             const Triangles& tri, size_t along_x, size_t along_y,
                             silhouettes::Images& images) {
  const auto size = ids.dimensions();
  const int64_t batch = size[0], height = size[1], width = size[2];
  const int64_t triangles = tri.dimensions()[0];
  if (rows.element_count() != size_t(batch * triangles * 9) ||
      neighbors.element_count() != size_t(triangles * 3) ||
      depth.element_count() != ids.element_count() ||
      along_x != size_t(batch * height * (width - 1)) ||
      along_y != size_t(batch * (height - 1) * width)) {
    return invalid("silhouette_edges", "the sizes do not fit each other");
  }
  images = {
      ids.typed_data(), depth.typed_data(), rows.typed_data(), neighbors.typed_data(),
      tri.typed_data(), int(height),        int(width),        int(triangles)};
  return ffi::Error::Success();
}

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTERIZER_FFI_H_
