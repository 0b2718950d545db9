import AVFoundation
import Foundation
import MobileExportKit
import SwiftUI

/// The back camera, live: upright frames, one at a time; late ones are dropped.
final class Camera: NSObject, ObservableObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    @Published private(set) var isRunning = false
    @Published private(set) var problem: String?
    private let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "dev.mobileexport.camera")
    private var take: ((Picture) -> Void)?

    /// - Parameter take: called on the main thread.
    func start(_ take: @escaping (Picture) -> Void) {
        self.take = take
        problem = nil
        AVCaptureDevice.requestAccess(for: .video) { allowed in
            DispatchQueue.main.async {
                if !allowed {
                    self.problem = "The camera is not allowed. Allow it in Settings, Privacy, Camera."
                } else {
                    self.begin()
                }
            }
        }
    }

    func stop() {
        isRunning = false
        take = nil
        queue.async { self.session.stopRunning() }
    }

    private func begin() {
        do {
            if session.outputs.isEmpty { try configure() }
            isRunning = true
            queue.async { self.session.startRunning() }
        } catch {
            problem = error.localizedDescription
        }
    }

    private func configure() throws {
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) else {
            throw KitError("This device has no camera on its back.")
        }
        let input = try AVCaptureDeviceInput(device: device)
        let output = AVCaptureVideoDataOutput()
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: queue)
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        session.sessionPreset = .vga640x480
        guard session.canAddInput(input), session.canAddOutput(output) else {
            throw KitError("The camera is in use by another app.")
        }
        session.addInput(input)
        session.addOutput(output)
        guard let connection = output.connection(with: .video) else { return }
        if #available(iOS 17.0, *) {
            if connection.isVideoRotationAngleSupported(90) { connection.videoRotationAngle = 90 }
        } else if connection.isVideoOrientationSupported {
            connection.videoOrientation = .portrait
        }
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let frame = CMSampleBufferGetImageBuffer(sampleBuffer), let picture = try? Photos.picture(frame) else {
            return
        }
        DispatchQueue.main.async { self.take?(picture) }
    }
}
